"""Masks that environments give in their info, as a leaf of the observation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from actor_client.action_mask import MaskedEnvironment
from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.settings import EnvironmentSettings
from corral.protocol import TensorSpec

TAXI = EnvironmentSettings("Taxi-v4", action_mask=True)


def test_taxis_mask_says_which_moves_change_something() -> None:
    """The real environment: against its own table of what each action leads to."""
    observation, _ = spaces(TAXI)
    assert observation == {
        "observation": TensorSpec((), "int64", 0, 499),
        "action_mask": TensorSpec((6,), "int8", 0.0, 1.0),
    }
    group = make_group(TAXI, 3)
    rows = group.reset([1, 2, 3])
    table: Any = gymnasium.make("Taxi-v4").unwrapped
    drawn = np.random.default_rng(0)
    for _ in range(100):
        action = np.zeros(3, np.int64)
        told = rows.observation
        for row, (state, mask) in enumerate(zip(told["observation"], told["action_mask"], strict=True)):
            assert mask.tolist() == table.action_mask(int(state)).tolist()
            action[row] = drawn.choice(np.flatnonzero(mask))
        before, rows = rows.observation["observation"], group.step(rows.environment, action)
        went_on = rows.flags == 0
        assert (rows.observation["observation"] != before)[went_on].all(), (
            "a move that is allowed changes the state"
        )


def test_without_the_setting_there_is_none() -> None:
    assert list(spaces(EnvironmentSettings("Taxi-v4"))[0]) == ["observation"]


class Lights(gymnasium.Env[Any, Any]):
    """Two switches with three places each; the masks of both come as a tuple."""

    observation_space = gymnasium.spaces.Dict({"lamp": gymnasium.spaces.Discrete(4)})
    action_space = gymnasium.spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return {"lamp": 1}, {"action_mask": (np.array([1, 0, 1]), np.array([0, 1]))}


def test_masks_of_several_actions_follow_each_other() -> None:
    environment = MaskedEnvironment(Lights())
    observation, _ = environment.reset()
    assert observation["lamp"] == 1
    assert observation["action_mask"].tolist() == [1, 0, 1, 0, 1]
    assert environment.observation_space["action_mask"].shape == (5,)


def test_what_has_no_mask_is_told() -> None:
    with pytest.raises(BadEnvironmentError, match=r'gives no info\["action_mask"\]; it gives nothing'):
        make_group(EnvironmentSettings("CartPole-v1", action_mask=True), 1).reset(None)
    with pytest.raises(BadEnvironmentError, match="for discrete actions, not Box"):
        make_group(EnvironmentSettings("Pendulum-v1", action_mask=True), 1)
    with pytest.raises(BadEnvironmentError, match='use vectorization = "auto"'):
        make_group(EnvironmentSettings("CartPole-v1", vectorization="native", action_mask=True), 1)
