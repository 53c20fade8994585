"""Servers on PyTorch: of a saved model, and of a policy that a learner on another backend trains. Real processes,
the servers from a virtual environment without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actor_client import PolicyClient
from tests.support.models import save_two_headed_model
from tests.support.processes import process, until_serving
from tests.support.torch_venv import torch_python

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CORRAL = ("-m", "corral.cli")


def test_a_saved_model_is_served(tmp_path: Path) -> None:
    model, address = save_two_headed_model(tmp_path / "model.keras"), f"ipc://{tmp_path}/server"
    serve = ("serve", str(tmp_path / "model.keras"), "--address", address, "--max-size", "16")
    with process(*CORRAL, *serve, python=torch_python(), KERAS_BACKEND="torch"):
        until_serving(address, 200)
        rows = np.random.default_rng(1).standard_normal((37, 4)).astype(np.float32)
        with PolicyClient(address) as client:
            answer = client.infer(rows)
        assert list(answer) == ["logits", "value"]
        for name, expected in model(rows).items():
            np.testing.assert_allclose(answer[name], np.asarray(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_server_acts_with_what_a_learner_on_another_backend_trains(tmp_path: Path, backend: str) -> None:
    addresses = {
        "server.address": f"ipc://{tmp_path}/server",
        "learner.unrolls_address": f"ipc://{tmp_path}/unrolls",
        "learner.weights_address": f"ipc://{tmp_path}/weights",
    }
    settings = addresses | {"run.target_return": "40", "run.folder": str(tmp_path / "runs")}
    options = ["examples/cartpole.toml", *(f"--set={key}={value}" for key, value in settings.items())]
    with (
        process(*CORRAL, "server", *options, python=torch_python(), KERAS_BACKEND="torch"),
        process(*CORRAL, "learner", *options, KERAS_BACKEND=backend) as learner,
        process(*CORRAL, "actor", *options),
    ):
        traces = until_serving(addresses["server.address"], 200)["traces"]
        # CartPole returns 20 or so by chance.
        assert learner.popen.wait(400) == 0
        status = until_serving(addresses["server.address"])
        assert status["policy_version"] > 1
        assert status["traces"] == traces
    assert "solved" in learner.output


def test_a_learner_is_refused(tmp_path: Path) -> None:
    options = ("examples/cartpole.toml", f"--set=run.folder={tmp_path}")
    with process(*CORRAL, "learner", *options, python=torch_python(), KERAS_BACKEND="torch") as learner:
        assert learner.popen.wait(200) == 2
    assert "error: Keras runs on 'torch', on which Corral serves but does not train" in learner.output
    assert "Traceback" not in learner.output
