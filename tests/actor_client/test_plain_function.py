"""Plain functions as environments: an episode is a call, spaces are what it shows, and what is wrong is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest

from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.settings import EnvironmentSettings
from corral.protocol import RowFlags, TensorSpec

TWO = gymnasium.spaces.Discrete(2)
FIRST = int(RowFlags.FIRST)


def corridor(rng: np.random.Generator, places: int = 5, patience: int = 6) -> Any:
    """From the middle to either end; the right one is worth 1."""
    place = places // 2
    reward = 0.0
    for _ in range(patience):
        action = yield [float(place)], reward
        place += 1 if action else -1
        if place in (0, places - 1):
            return [float(place)], float(place > 0)
    return [float(place)], 0.0, True


def at(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], action_space: Any = TWO, **kwargs: Any
) -> Any:
    """Settings that name a function."""
    module = ModuleType("tests.of_episodes")
    vars(module)["play"] = function
    if action_space is not None:
        monkeypatch.setattr(function, "action_space", action_space, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return EnvironmentSettings("tests.of_episodes:play", kwargs)


def test_an_episode_is_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = at(monkeypatch, corridor)
    assert spaces(settings) == (
        {"observation": TensorSpec((1,), "float32")},
        TensorSpec((), "int64", 0, 1),
    )
    group = make_group(settings, 1)
    rows = group.reset([0])
    seen = []
    for action in (1, 1, 0, 0, 0, 1, 0, 1, 0, 1):
        rows = group.step(rows.environment, np.array([action]))
        final = rows.final["observation"].ravel().tolist()
        seen.append((rows.observation["observation"][0, 0], float(rows.reward[0]), int(rows.flags[0]), final))
    died, cut = FIRST | RowFlags.TERMINATED, FIRST | RowFlags.TRUNCATED
    assert seen == [
        (3, 0.0, 0, []),
        (2, 1.0, died, [4]),
        (1, 0.0, 0, []),
        (2, 0.0, died, [0]),
        (1, 0.0, 0, []),
        (2, 0.0, 0, []),
        (1, 0.0, 0, []),
        (2, 0.0, 0, []),
        (1, 0.0, 0, []),
        (2, 0.0, cut, [2]),
    ]
    group.close()


def test_arguments_and_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    def dice(rng: np.random.Generator, sides: int) -> Any:
        while True:
            yield rng.integers(sides, size=8), 0.0

    group = make_group(at(monkeypatch, dice, sides=1000), 2)

    def start(seeds: list[int] | None) -> list[Any]:
        return group.reset(seeds).observation["observation"].tolist()

    once = start([1, 2])
    assert once[0] != once[1]
    assert start(None) != once
    assert start([1, 2]) == once


def test_what_is_seen_says_its_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def camera(rng: np.random.Generator) -> Any:
        while True:
            yield {"image": np.zeros((4, 4), np.uint8), "speed": 0.5, "braking": True, "gear": np.int64(2)}, 0.0

    observation, _ = spaces(at(monkeypatch, camera))
    assert {name: (leaf.dtype, leaf.shape) for name, leaf in observation.items()} == {
        "image": ("uint8", (4, 4)),
        "speed": ("float32", ()),
        "braking": ("uint8", ()),
        "gear": ("int64", ()),
    }
    monkeypatch.setattr(corridor, "observation_space", gymnasium.spaces.Box(0, 4, (1,), np.float32), raising=False)
    assert spaces(at(monkeypatch, corridor))[0]["observation"].maximum == 4.0


def no_pair(rng: Any) -> Any:
    yield [1.0]


def no_number(rng: Any) -> Any:
    yield [1.0], "much"


def no_array(rng: Any) -> Any:
    yield "a word", 0.0


def nothing(rng: Any) -> Any:
    return
    yield


def no_end(rng: Any) -> Any:
    yield [1.0], 0.0


@pytest.mark.parametrize(
    ("function", "action_space", "text"),
    [
        (corridor, None, r"corridor\.action_space = gymnasium\.spaces\.Discrete\(2\)"),
        (no_pair, TWO, r"no_pair must yield \(observation, reward\), not \[1\.0\]"),
        (no_number, TWO, r"no_number must yield \(observation, reward\)"),
        (no_array, TWO, "no_array yields 'a word': an observation must be a number"),
        (nothing, TWO, "nothing returned before its first observation"),
    ],
)
def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], action_space: Any, text: str
) -> None:
    with pytest.raises(BadEnvironmentError, match=text):
        spaces(at(monkeypatch, function, action_space))


def test_an_episode_must_say_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    group = make_group(at(monkeypatch, no_end), 1)
    rows = group.reset(None)
    with pytest.raises(BadEnvironmentError, match=r"must return \(observation, reward\).*cut short, not None"):
        group.step(rows.environment, np.zeros(1, np.int64))


def test_wrong_arguments_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadEnvironmentError, match="no_such_argument"):
        spaces(at(monkeypatch, corridor, no_such_argument=1))


def shrinking(rng: np.random.Generator) -> Any:
    yield [0.0, 0.0], 0.0
    yield [1.0], 0.0


def forgetful(rng: np.random.Generator) -> Any:
    yield {"here": 0.0, "there": 0.0}, 0.0
    yield {"here": 1.0}, 0.0


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (shrinking, r"observation of shape \(1,\), where its observation space says \(2,\)"),
        (forgetful, r"an observation that is not in Dict\(.*\) \(KeyError: 'there'\)"),
    ],
)
def test_an_observation_of_another_form_is_refused_rather_than_spread_over_its_row(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], said: str
) -> None:
    group = make_group(at(monkeypatch, function), 1)
    rows = group.reset([0])
    with pytest.raises(BadEnvironmentError, match=said):
        group.step(rows.environment, np.array([0]))


def test_a_number_and_an_array_of_one_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(rng: np.random.Generator) -> Any:
        yield [0.0], 0.0
        yield 3.0, 0.0

    group = make_group(at(monkeypatch, careless), 1)
    rows = group.step(group.reset([0]).environment, np.array([0]))
    assert rows.observation["observation"].tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("made", "said"),
    [(None, "returns None, which has no observation_space"), (3, "returns 3, which has no observation_space")],
)
def test_a_function_that_makes_no_environment_is_told_so(
    monkeypatch: pytest.MonkeyPatch, made: Any, said: str
) -> None:
    def make() -> Any:
        return made

    with pytest.raises(BadEnvironmentError, match=said):
        spaces(at(monkeypatch, make, action_space=None))
