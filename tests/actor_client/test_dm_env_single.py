"""dm_env, with the real libraries: dm_control's tasks, how episodes end, and environments that functions make."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import dm_env
import numpy as np
import pytest
from dm_env import specs

from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.gymnasium_single import SingleGroup
from actor_client.settings import EnvironmentSettings
from corral.protocol import ENDED, RowFlags
from tests.actor_client.test_atari import apart

on_dm_control = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="dm_control needs labmaze, which has no wheel for Python 3.13"
)

WALKER = EnvironmentSettings("dm_control/walker-walk-v0")


@on_dm_control
def test_a_task_of_dm_controls() -> None:
    """Step by step beside the task itself."""
    from dm_control import suite

    group = make_group(WALKER, 1)
    assert isinstance(group, SingleGroup)
    observation, action = spaces(WALKER)
    assert {name: leaf.shape for name, leaf in observation.items()} == {
        "height": (),
        "orientations": (14,),
        "velocity": (9,),
    }
    assert (action.shape, action.minimum, action.maximum) == ((6,), -1.0, 1.0)
    task = suite.load("walker", "walk", task_kwargs={"random": np.random.RandomState(3)})
    rows, told = group.reset([3]), task.reset()
    drawn = np.random.default_rng(0)
    for _ in range(50):
        for name, leaf in rows.observation.items():
            np.testing.assert_array_equal(leaf[0], told.observation[name])
        act = drawn.uniform(-1, 1, 6)
        told, rows = task.step(act), group.step(rows.environment, act[None])
        assert rows.reward[0] == np.float32(told.reward)
        assert rows.flags[0] == 0
    group.close()


@on_dm_control
def test_seeds_draw_the_starts() -> None:
    group = make_group(WALKER, 2)

    def start(seeds: list[int] | None) -> list[Any]:
        return group.reset(seeds).observation["orientations"].tolist()

    once = start([1, 2])
    assert once[0] != once[1]
    assert start(None) != once
    assert start([1, 2]) == once


@on_dm_control
def test_a_time_limit_truncates() -> None:
    group = make_group(
        EnvironmentSettings("dm_control/cartpole-balance-v0", {"task_kwargs": {"time_limit": 0.05}}), 1
    )
    rows = group.reset([0])
    flags = []
    for _ in range(10):
        rows = group.step(rows.environment, np.zeros((1, 1)))
        flags.append(int(rows.flags[0]))
    cut = int(RowFlags.FIRST | RowFlags.TRUNCATED)
    assert flags == [0, 0, 0, 0, cut] * 2


class Countdown(dm_env.Environment):
    """Counts down from 3 to `end`, where the discount is as given; the reward is what it counted."""

    def __init__(self, discount: float, within: float = 1.0) -> None:
        self._discount, self._within = discount, within

    def reset(self) -> dm_env.TimeStep:
        self._left = 3
        return dm_env.restart(np.int32(3))

    def step(self, action: Any) -> dm_env.TimeStep:
        self._left -= 1
        if self._left:
            return dm_env.transition(float(action), np.int32(self._left), discount=self._within)
        return dm_env.TimeStep(dm_env.StepType.LAST, float(action), self._discount, np.int32(0))

    def observation_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(4, np.int32)

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(5, np.int32)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> EnvironmentSettings:
    module = ModuleType("tests.of_countdowns")
    vars(module)["make"] = Countdown
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return EnvironmentSettings("tests.of_countdowns:make")


@pytest.mark.parametrize(
    ("discount", "flag"), [(0.0, RowFlags.TERMINATED), (1.0, RowFlags.TRUNCATED), (0.5, RowFlags.TRUNCATED)]
)
def test_the_last_discount_says_how_it_ended(
    settings: EnvironmentSettings, discount: float, flag: RowFlags
) -> None:
    group = make_group(EnvironmentSettings(settings.id, {"discount": discount}), 1)
    assert group.action.num_values == 5
    rows, seen = group.reset([0]), []
    for act in range(4):
        rows = group.step(rows.environment, np.array([act]))
        seen.append((int(rows.observation["observation"][0]), float(rows.reward[0]), int(rows.flags[0])))
    assert seen == [(2, 0.0, 0), (1, 1.0, 0), (3, 2.0, RowFlags.FIRST | flag), (2, 3.0, 0)]
    assert rows.flags[0] & ENDED == 0


def test_a_discount_within_an_episode_is_refused(settings: EnvironmentSettings) -> None:
    group = make_group(EnvironmentSettings(settings.id, {"discount": 0.0, "within": 0.9}), 1)
    rows = group.reset(None)
    with pytest.raises(BadEnvironmentError, match=r"discount 0\.9 within an episode.*agent\.discount"):
        group.step(rows.environment, np.zeros(1, np.int64))


@pytest.mark.parametrize("missing", ["dm_control", "shimmy"])
def test_the_extra_is_named_where_it_is_missing(missing: str) -> None:
    told = apart(WALKER.id, missing).splitlines()[-1]
    assert "BadEnvironmentError" in told
    assert 'pip install "corral[dm-control]"' in told
