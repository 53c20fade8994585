"""Groups of environments, in every way that they reset themselves, against the script written out."""

from __future__ import annotations

import sys
from collections import defaultdict
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest

from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError, EnvironmentGroup
from actor_client.gymnasium_single import SingleGroup
from actor_client.gymnasium_vector import VectorGroup
from actor_client.rows import Rows
from actor_client.settings import EnvironmentSettings
from corral.protocol import ENDED, RowFlags
from tests.support.scripted_environment import (
    ScriptedEnvironment,
    episode_length,
    is_truncated,
    make_vector,
    reward_of,
)

MODULE = "tests.support.scripted_environment"


def make(mode: str, size: int = 3) -> EnvironmentGroup:
    if mode == "SINGLE":
        return SingleGroup([ScriptedEnvironment() for _ in range(size)])
    return VectorGroup(make_vector(size, mode))


def play(group: EnvironmentGroup, steps: int) -> dict[int, list[Any]]:
    """What each environment showed: `("first" | "step" | "end", observation, reward, flags)` in order."""
    shown: dict[int, list[Any]] = defaultdict(list)
    rows = group.reset(list(range(group.size)))
    for count in range(steps):
        record(shown, rows)
        rows = group.step(rows.environment, np.full(len(rows.environment), count % 5))
    return shown


def record(shown: dict[int, list[Any]], rows: Rows) -> None:
    assert len(rows.environment) > 0
    assert (np.diff(rows.environment.astype(int)) > 0).all()
    finals = iter(rows.final["observation"].tolist())
    for row, environment in enumerate(rows.environment.tolist()):
        flags, reward = int(rows.flags[row]), float(rows.reward[row])
        observation = rows.observation["observation"][row].tolist()
        if flags & ENDED:
            shown[environment].append(("end", next(finals), reward, flags))
            shown[environment].append(("first", observation, 0.0, 0))
        else:
            shown[environment].append(("first" if flags & RowFlags.FIRST else "step", observation, reward, 0))
    assert next(finals, None) is None


@pytest.mark.parametrize("mode", ["SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED"])
def test_every_way_of_resetting_shows_the_same(mode: str) -> None:
    shown = play(make(mode), 60)
    assert len(shown) == 3
    for entries in shown.values():
        who = entries[0][1][0]
        episode, step = 0, 0
        for kind, observation, reward, flags in entries:
            if kind == "first":
                step = 0
            else:
                step += 1
                assert reward == reward_of(episode, step)
            assert observation[:3] == [who, episode, step]
            assert (kind == "end") == (step == episode_length(who, episode))
            if kind == "end":
                cut = is_truncated(who, episode)
                assert flags & ENDED == (RowFlags.TRUNCATED if cut else RowFlags.TERMINATED)
                episode += 1
        assert episode > 3


@pytest.mark.parametrize("mode", ["SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED"])
def test_actions_reach_their_environment(mode: str) -> None:
    group = make(mode)
    rows = group.reset(None)
    for count in range(40):
        action = (rows.environment.astype(np.int64) + count) % 5
        sent = dict(zip(rows.environment.tolist(), action.tolist(), strict=True))
        rows = group.step(rows.environment, action)
        for row, environment in enumerate(rows.environment.tolist()):
            if rows.flags[row] == 0:
                assert rows.observation["observation"][row, 3] == sent[environment]


def test_rows_that_were_shown_do_not_change_later() -> None:
    group = make("NEXT_STEP")
    rows = group.reset(None)
    kept, copy = rows.observation["observation"], rows.observation["observation"].copy()
    for _ in range(10):
        rows = group.step(rows.environment, np.zeros(len(rows.environment), np.int64))
    np.testing.assert_array_equal(kept, copy)


def test_a_step_in_which_everyone_resets_is_passed_over() -> None:
    group = make("NEXT_STEP", size=1)
    rows = group.reset(None)
    for _ in range(30):
        rows = group.step(rows.environment, np.zeros(1, np.int64))
        assert len(rows.environment) == 1


def test_an_unknown_way_of_resetting_is_refused() -> None:
    vector = make_vector(2)
    vector.metadata = {"autoreset_mode": "sometimes"}
    with pytest.raises(BadEnvironmentError, match="'sometimes'; Corral knows NEXT_STEP, SAME_STEP, DISABLED"):
        VectorGroup(vector)


def test_the_native_vector_form_is_taken_where_there_is_one() -> None:
    native = make_group(EnvironmentSettings("CartPole-v1"), 2)
    single = make_group(EnvironmentSettings("CartPole-v1", vectorization="none"), 2)
    assert isinstance(native, VectorGroup)
    assert isinstance(single, SingleGroup)
    assert native.observation == single.observation
    assert native.action == single.action
    assert isinstance(make_group(EnvironmentSettings("Acrobot-v1"), 2), SingleGroup)
    with pytest.raises(BadEnvironmentError, match="no vector form"):
        make_group(EnvironmentSettings("Acrobot-v1", vectorization="native"), 2)


def module_of(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> str:
    """The name of a module that has nothing but these, for one test."""
    module = ModuleType("tests.of_functions")
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_function_has_its_vector_form_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    both = module_of(monkeypatch, make=ScriptedEnvironment, make_vector=make_vector, make_one=ScriptedEnvironment)
    native = make_group(EnvironmentSettings(f"{both}:make"), 2)
    assert isinstance(native, VectorGroup)
    assert native.size == 2
    assert isinstance(make_group(EnvironmentSettings(f"{both}:make", vectorization="none"), 2), SingleGroup)
    assert isinstance(make_group(EnvironmentSettings(f"{both}:make_one"), 2), SingleGroup)
    with pytest.raises(BadEnvironmentError, match="make_one has no vector form"):
        make_group(EnvironmentSettings(f"{both}:make_one", vectorization="native"), 2)


def test_a_vector_form_of_another_environment_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlike = module_of(monkeypatch, make=lambda: gymnasium.make("CartPole-v1"), make_vector=make_vector)
    text = r"'observation' is int64\[4\].* here and float32\[4\].* there"
    with pytest.raises(BadEnvironmentError, match=text):
        make_group(EnvironmentSettings(f"{unlike}:make", vectorization="native"), 2)
    assert isinstance(make_group(EnvironmentSettings(f"{unlike}:make"), 2), SingleGroup)
    assert "single environments are stepped, one after another" in caplog.text


def test_cartpole_natively_and_singly_agree_step_by_step() -> None:
    native = make_group(EnvironmentSettings("CartPole-v1"), 1)
    single = gymnasium.make("CartPole-v1")
    rows = native.reset([7])
    observation = rows.observation["observation"][0]
    single.reset(seed=7)
    single.unwrapped.state = observation.astype(np.float64)  # they draw their first states differently
    for count in range(200):
        rows = native.step(rows.environment, np.array([count % 2]))
        expected, reward, terminated, _, _ = single.step(count % 2)
        if terminated:
            np.testing.assert_allclose(rows.final["observation"][0], expected, rtol=1e-4, atol=1e-5)
            assert rows.reward[0] == reward
            assert rows.flags[0] == RowFlags.FIRST | RowFlags.TERMINATED
            return
        np.testing.assert_allclose(rows.observation["observation"][0], expected, rtol=1e-4, atol=1e-5)
    raise AssertionError("the pole never fell")


def test_spaces_of_an_environment() -> None:
    observation, action = spaces(EnvironmentSettings(f"{MODULE}:ScriptedEnvironment"))
    assert observation["observation"].shape == (4,)
    assert action.num_values == 5


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("NoSuch-v0", "NoSuch"),
        ("no_such_package:make", "No module named 'no_such_package'"),
        (f"{MODULE}:NoSuchThing", "has no attribute 'NoSuchThing'"),
        ("no_such_package:Mine-v0", "no_such_package"),
    ],
)
def test_an_environment_that_does_not_exist_is_named(identifier: str, text: str) -> None:
    for use in (spaces, lambda settings: make_group(settings, 2)):
        with pytest.raises(BadEnvironmentError, match=text):
            use(EnvironmentSettings(identifier))


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(BadEnvironmentError, match="no_such_argument"):
        spaces(EnvironmentSettings("CartPole-v1", kwargs={"no_such_argument": 1}))
