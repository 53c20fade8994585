"""The drafted experiment: it loads, and its numbers come from what is known of the environment."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest

from actor_client.settings import EnvironmentSettings
from corral.launch.draft import Episodes, draft, file_name, reward_scale, write_draft
from corral.launch.errors import UserError
from corral.launch.experiment import load_experiment

EXAMPLE = Path(__file__).parents[2] / "examples" / "cartpole.toml"
MODULE = """
import gymnasium
from gymnasium import spaces
import numpy as np

class Made(gymnasium.Env):
    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

def make(action="discrete"):
    kinds = {
        "discrete": spaces.Discrete(3, start=1),
        "several": spaces.MultiDiscrete([2, 3]),
        "unbounded": spaces.Box(-1.0, 1.0, (2, 2)),
        "text": spaces.Text(3),
    }
    pixels = spaces.Box(0, 255, (84, 84, 3), np.uint8)
    return Made(spaces.Dict({"pixels": pixels, "speed": spaces.Box(-1.0, 1.0, (2,))}), kinds[action])

def frames():
    return Made(spaces.Box(0, 255, (84, 84), np.uint8), spaces.Discrete(2))

def reads():
    return Made(spaces.Text(3), spaces.Discrete(2))

gymnasium.register("Mine-v0", entry_point=make, reward_threshold=20, max_episode_steps=10)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's own, by its name."""
    (tmp_path / "drafted.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "drafted"
    gymnasium.registry.pop("Mine-v0", None)
    sys.modules.pop("drafted", None)


def drafted(environment: str, **kwargs: object) -> str:
    return draft(EnvironmentSettings(environment, kwargs=kwargs), Path("some where.toml"))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ("CartPole-v1", "cartpole.toml"),
        ("ALE/Pong-v5", "pong.toml"),
        ("my_package:make", "make.toml"),
        ("my_package.envs:Mine-v0", "mine.toml"),
        ("phys2d/CartPole-v1", "cartpole.toml"),
        ("Odd name-v12", "odd_name.toml"),
        ("CartPole", "cartpole.toml"),
    ],
)
def test_the_file_is_named_after_the_environment(environment: str, name: str) -> None:
    assert file_name(environment) == name


@pytest.mark.parametrize(
    ("threshold", "steps", "scale", "why"),
    [
        (475.0, 500, 0.1, "discounted sums of about 94 become 9.4"),  # 0.95 a step, 99.3 steps' worth
        (200, 1000, 0.5, "discounted sums of about 20 become 10"),  # 0.2 a step, 100 steps' worth
        (0.7, 100, 2.0, "discounted sums of about 0.44 become 0.89"),  # 0.007 a step, 63.4 steps' worth
        (8, 200, 1.0, "discounted sums of about 3.5 become 3.5"),  # in range: 0.04 a step, 86.6 steps' worth
        (-100.0, 500, 0.1, "discounted sums of about -1e+02 become -10"),
        (-110.0, None, 0.09, "discounted sums of about -1.1e+02 become -9.9"),
        (475.0, None, 1.0, "a guess: nothing is known of the returns"),
        (None, 500, 1.0, "a guess: nothing is known of the returns"),
        (0.0, 500, 1.0, "a guess: nothing is known of the returns"),
    ],
)
def test_rewards_are_scaled_to_discounted_sums_of_1_to_10(threshold, steps, scale, why) -> None:
    assert reward_scale(Episodes(threshold, steps), 0.99) == (scale, why)


def test_rewards_that_are_not_discounted() -> None:
    assert reward_scale(Episodes(20.0, 10), 1.0) == (0.5, "discounted sums of about 20 become 10")


def test_the_draft_for_cartpole_is_the_example(tmp_path: Path) -> None:
    path = tmp_path / "cartpole.toml"
    write_draft(EnvironmentSettings("CartPole-v1"), path)
    ours, example = load_experiment(path, environ={}), load_experiment(EXAMPLE, environ={})
    assert replace(ours, run=example.run) == example
    assert ours.run == example.run


def test_it_tells_the_spaces_and_the_command() -> None:
    lines = drafted("CartPole-v1").splitlines()
    assert "#     corral run 'some where.toml'" in lines
    assert "#     observation: float32[4]" in lines
    assert "# and an action int64[] of 2 values, from 0 to 1." in lines


def test_without_a_threshold_the_target_is_left_to_the_user() -> None:
    text = drafted("Blackjack-v1")
    assert "# target_return = 100.0  # set it to end the run as soon as it is good enough" in text.splitlines()
    assert "target_return" not in tomllib.loads(text)["run"]
    assert tomllib.loads(text)["agent"]["reward_scale"] == 1.0


def test_the_batch_holds_every_environment() -> None:
    tables = tomllib.loads(drafted("CartPole-v1"))
    assert (
        tables["actor"]["processes"] * tables["actor"]["environments"] == tables["server"]["batching"]["max_size"]
    )


def test_a_function_of_ones_own_with_images(module: str) -> None:
    text = drafted(f"{module}:make")
    assert "#     pixels: uint8[84, 84, 3] of 256 values, from 0 to 255" in text
    assert "#     speed: float32[2], from -1 to 1" in text
    assert "# and an action int64[] of 3 values, from 1 to 3." in text
    assert 'torso = "nature_cnn"  # for pixels; impala costs more' in text
    assert tomllib.loads(text)["environment"] == {"id": f"{module}:make"}
    assert "looks like an image" not in drafted("CartPole-v1")


def test_single_frames_are_stacked(module: str) -> None:
    tables = tomllib.loads(drafted(f"{module}:frames"))
    assert tables["agent"]["frame_stack"] == 4
    assert tables["agent"]["network"]["torso"] == "nature_cnn"
    assert "frame_stack" not in tomllib.loads(drafted(f"{module}:make"))["agent"]


def test_an_id_of_ones_own(module: str) -> None:
    tables = tomllib.loads(drafted(f"{module}:Mine-v0", action="discrete"))
    assert tables["environment"] == {"id": f"{module}:Mine-v0", "kwargs": {"action": "discrete"}}
    assert tables["run"]["target_return"] == 20.0
    assert tables["agent"]["reward_scale"] == 0.5  # 2 a step, 9.56 steps' worth: 19.1


def test_actions_that_no_agent_gives_are_refused(module: str) -> None:
    with pytest.raises(UserError, match=r"takes actions float32\[2, 2\], from -1 to 1, which no agent can give"):
        drafted(f"{module}:make", action="unbounded")


def test_numbers_within_bounds_are_learned_by_sac() -> None:
    tables = tomllib.loads(drafted("Pendulum-v1"))
    assert tables["agent"]["name"] == "sac"
    assert tables["learner"]["replay"]["samples_per_insert"] == 256.0


def test_several_choices_are_learned_by_vtrace(module: str) -> None:
    assert tomllib.loads(drafted(f"{module}:make", action="several"))["agent"]["name"] == "vtrace"


def test_environments_that_cannot_be_used_are_refused(module: str) -> None:
    for environment, kwargs, text in [
        ("CartPool-v1", {}, "'CartPool-v1' cannot be made"),
        (f"{module}:nothing", {}, "has no attribute 'nothing'"),
        (f"{module}:make", {"action": "text"}, "cannot be sent as arrays"),
        (f"{module}:reads", {}, "cannot be sent as arrays"),
    ]:
        with pytest.raises(UserError, match=text):
            drafted(environment, **kwargs)


def test_a_file_is_overwritten_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    environment = EnvironmentSettings("CartPole-v1")
    with pytest.raises(UserError) as caught:
        write_draft(environment, path)
    assert str(caught.value) == f"{path} exists: --force overwrites it, --output FILE writes another"
    assert path.read_text() == "mine"
    write_draft(environment, path, force=True)
    assert load_experiment(path, environ={}).environment.id == "CartPole-v1"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.json: an experiment file's name ends in \.toml"):
        write_draft(EnvironmentSettings("CartPole-v1"), tmp_path / "mine.json")
