"""A network of the user's own, through real processes: trained, saved, served; refused where it does not fit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from actor_client import PolicyClient
from tests.support.command import Workplace, workplace
from tests.support.processes import process, until_serving

NETS = """
import keras

def build(observation, action):
    x = keras.Input(observation["observation"].shape, name="observation")
    h = keras.layers.Dense(32, "relu", name="mine")(x)
    return keras.Model(
        x,
        {
            "logits": keras.layers.Dense(action.num_values)(h),
            "value": keras.layers.Dense(1)(h),
        },
    )

def headless(observation, action):
    x = keras.Input((4,))
    return keras.Model(x, {"logits": keras.layers.Dense(3)(x)})
"""


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        (place.folder / "nets.py").write_text(NETS)
        yield place


def corral(place: Workplace, command: str, build: str) -> subprocess.CompletedProcess[str]:
    return place.corral(command, "examples/cartpole.toml", "--set", f"agent.network.build={build}")


@pytest.mark.long
def test_it_is_trained_saved_and_served(place: Workplace) -> None:
    ran = corral(place, "run", "nets:build")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("solved: mean return ")
    assert place.leftovers() == []
    import keras

    path = place.run_folder / "policy.keras"
    policy = keras.models.load_model(path)
    rows = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    expected = {name: np.asarray(value) for name, value in policy({"observation": rows}).items()}
    assert expected["logits"].shape == (5, 2)
    (hidden,) = [variable for variable in policy.weights if "mine/kernel" in variable.path]
    assert hidden.shape == (4, 32)

    address = f"ipc://{place.temporary}/served"
    with process("-m", "corral.cli", "serve", str(path), "--address", address):
        until_serving(address)
        served = PolicyClient(address).infer(rows)
    np.testing.assert_allclose(served["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(served["action"], np.argmax(expected["logits"], -1))


@pytest.mark.parametrize("command", ["server", "learner"])
def test_what_does_not_fit_ends_a_role_with_one_line(place: Workplace, command: str) -> None:
    done = corral(place, command, "nets:headless")
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: agent.network.build = 'nets:headless': the network must put out a dictionary with "
        '"logits" [batch, 2] and "value" [batch]; it puts out "logits" [batch, 3]'
    )
    assert "Traceback" not in done.stderr


def test_a_run_says_what_its_roles_say(place: Workplace) -> None:
    done = corral(place, "run", "nowhere:build")
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "agent.network.build = 'nowhere:build': cannot be imported: ModuleNotFoundError: " in told
    assert "Traceback" not in told
    assert place.leftovers() == []
