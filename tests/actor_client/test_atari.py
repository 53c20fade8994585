"""Atari games: what is done to a frame, against the emulator driven by hand; both forms against each other."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import ale_py
import cv2
import numpy as np
import pytest

from actor_client.atari import make, make_vector
from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError, EnvironmentGroup
from actor_client.gymnasium_single import SingleGroup
from actor_client.gymnasium_vector import VectorGroup
from actor_client.rows import Rows
from actor_client.settings import EnvironmentSettings
from corral.protocol import ENDED, RowFlags
from tests.support.command import ROOT

PAGE = (ROOT / "docs" / "environments.md").read_text()
MAKE = "actor_client.atari:make"
FORMS = ["none", "native"]


def settings(game: str = "Breakout", vectorization: Any = "auto", **kwargs: Any) -> EnvironmentSettings:
    return EnvironmentSettings(MAKE, {"id": f"ALE/{game}-v5", **kwargs}, vectorization)


def actions(count: int, environments: int) -> np.ndarray:
    """Actions for Breakout: fire now and then, and walk about."""
    drawn = np.random.default_rng(0).integers(0, 4, (count, environments))
    drawn[::10] = 1
    return drawn


def play(group: EnvironmentGroup, steps: int, seed: int = 0) -> list[Rows]:
    """Every row of every step: Atari's environments show one each, in either form."""
    shown = [group.reset(list(range(seed, seed + group.size)))]
    for action in actions(steps, group.size):
        shown.append(group.step(np.arange(group.size, dtype=np.uint16), action))
    group.close()
    return shown


def frames(shown: list[Rows]) -> np.ndarray:
    return np.stack([rows.observation["observation"] for rows in shown])


def by_hand(steps: int) -> np.ndarray:
    """What `play` shows of one Breakout without no-ops, from the emulator itself."""
    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(ale_py.roms.get_rom_path("breakout"))
    emulator.reset_game()
    seen = [emulator.getScreenGrayscale()]
    for (action,) in actions(steps, 1):
        last = []
        for _ in range(4):
            emulator.act(emulator.getMinimalActionSet()[action])
            last.append(emulator.getScreenGrayscale())
        seen.append(np.maximum(last[2], last[3]))
    assert not emulator.game_over()
    return np.stack([cv2.resize(frame, (84, 84), interpolation=cv2.INTER_AREA) for frame in seen])


def test_one_gray_frame_a_step() -> None:
    observation, action = spaces(settings("Pong"))
    assert (observation["observation"].dtype, observation["observation"].shape) == ("uint8", (84, 84))
    assert action.num_values == 6
    observation, action = spaces(settings("Pong", screen_size=64, full_action_space=True))
    assert observation["observation"].shape == (64, 64)
    assert action.num_values == 18


def test_the_vector_form_is_ale_pys_own() -> None:
    assert isinstance(make_group(settings(), 2), VectorGroup)
    assert isinstance(make_group(settings(vectorization="none"), 2), SingleGroup)


@pytest.mark.parametrize("form", FORMS)
def test_frames_are_the_brightest_of_the_last_two_in_gray(form: str) -> None:
    seen = frames(play(make_group(settings(vectorization=form, noop_max=0), 1), 60))[:, 0]
    expected = by_hand(60)
    assert seen.dtype == np.uint8
    assert len(np.unique(expected, axis=0)) > 50, "nothing moved"
    np.testing.assert_array_equal(seen[1:], expected[1:])
    np.testing.assert_array_equal(seen[0], expected[0])


@pytest.mark.parametrize("life_loss", [False, True])
def test_both_forms_show_the_same(life_loss: bool) -> None:
    def shown(form: str) -> list[Rows]:
        return play(make_group(settings(vectorization=form, noop_max=0, life_loss=life_loss), 2), 400)

    ends = 0
    for single, native in zip(*map(shown, FORMS), strict=True):
        np.testing.assert_array_equal(single.environment, native.environment)
        np.testing.assert_array_equal(single.reward, native.reward)
        np.testing.assert_array_equal(single.flags, native.flags)
        np.testing.assert_array_equal(single.observation["observation"], native.observation["observation"])
        np.testing.assert_array_equal(single.final["observation"], native.final["observation"])
        ends += np.count_nonzero(single.flags & ENDED)
    assert ends >= (10 if life_loss else 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_lost_life_ends_the_episode_and_not_the_game(form: str) -> None:
    shown = play(make_group(settings(vectorization=form, noop_max=0, life_loss=True), 1), 400)
    begin = shown[0].observation["observation"][0]
    ended = [rows for rows in shown if rows.flags[0] & ENDED]
    assert {int(rows.flags[0]) for rows in ended} == {RowFlags.FIRST | RowFlags.TERMINATED}
    goes_on = [bool((rows.final["observation"][0] == rows.observation["observation"][0]).all()) for rows in ended]
    assert goes_on[:5] == [True, True, True, True, False], "five lives make a game of Breakout"
    np.testing.assert_array_equal(ended[4].observation["observation"][0], begin)


@pytest.mark.parametrize("form", FORMS)
def test_no_op_starts(form: str) -> None:
    def starts() -> np.ndarray:
        """First frames of two games, of seed 7 and 8, and of those that follow; in Freeway cars always move."""
        group = make_group(settings("Freeway", form), 2)
        seen = frames([group.reset([7, 8]), group.reset(None), group.reset(None)])
        group.close()
        return seen

    once = starts()
    np.testing.assert_array_equal(once, starts())
    assert (once[0, 0] != once[0, 1]).any()
    assert len(np.unique(once.reshape(6, -1), axis=0)) >= 5


def test_no_op_starts_are_of_thirty_frames_at_most() -> None:
    single = make(id="ALE/Pong-v5")
    vector = make_vector(8, id="ALE/Pong-v5")
    single.reset(seed=0)
    vector.reset(seed=0)
    singly = {single.reset()[1]["episode_frame_number"] for _ in range(60)}
    at_once = {number for _ in range(10) for number in vector.reset()[1]["episode_frame_number"].tolist()}
    assert max(singly) == max(at_once) == 30
    assert min(singly) <= 1
    assert min(at_once) <= 1
    assert min(len(singly), len(at_once)) > 20


@pytest.mark.parametrize("form", FORMS)
def test_sticky_actions_are_drawn_by_the_seed(form: str) -> None:
    def shown(seed: int, probability: float) -> np.ndarray:
        group = make_group(settings(vectorization=form, noop_max=0, repeat_action_probability=probability), 1)
        return frames(play(group, 30, seed))

    np.testing.assert_array_equal(shown(1, 0.0), shown(2, 0.0))
    np.testing.assert_array_equal(shown(1, 0.25), shown(1, 0.25))
    assert (shown(1, 0.25) != shown(2, 0.25)).any()


@pytest.mark.parametrize("form", FORMS)
def test_a_long_game_is_truncated(form: str) -> None:
    shown = play(make_group(settings("Pong", form, noop_max=0, max_frames=100), 1), 60)
    ends = [step for step, rows in enumerate(shown) if rows.flags[0] & ENDED]
    assert ends == [25, 50]
    assert {int(shown[step].flags[0]) for step in ends} == {RowFlags.FIRST | RowFlags.TRUNCATED}


def test_rewards_are_the_games_own() -> None:
    rewards = [float(rows.reward[0]) for rows in play(make_group(settings("SpaceInvaders", noop_max=0), 1), 300)]
    assert max(rewards) > 1


@pytest.mark.parametrize("identifier", ["CartPole-v1", "ALE/NoSuchGame-v5", "no_such_package:Game-v0"])
def test_what_is_no_game_is_refused(identifier: str) -> None:
    with pytest.raises(BadEnvironmentError, match='such as "ALE/Pong-v5"'):
        make_group(EnvironmentSettings(MAKE, {"id": identifier}), 1)


def test_the_bare_id_is_no_vector() -> None:
    # ale-py's vector would give stacks of small frames where the agent is built for large ones in colour.
    bare = EnvironmentSettings("ALE/Pong-v5")
    assert isinstance(make_group(bare, 1), SingleGroup)
    with pytest.raises(BadEnvironmentError, match=r"is uint8\[4, 84, 84\] .* here and uint8\[210, 160, 3\]"):
        make_group(EnvironmentSettings("ALE/Pong-v5", vectorization="native"), 1)


def apart(identifier: str, missing: str | None = None, kwargs: str = "{}") -> str:
    """What making an environment says in a process of its own, without a package if one is named."""
    code = (
        f"import sys; sys.modules.update({{name: None for name in {[missing] if missing else []}}})\n"
        "from actor_client.environments import make_group\n"
        "from actor_client.settings import EnvironmentSettings\n"
        f"print(make_group(EnvironmentSettings({identifier!r}, {kwargs}), 1).observation)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("identifier", ["ALE/Pong-v5", "PongNoFrameskip-v4", "ale_py:ALE/Pong-v5"])
def test_ids_that_ale_py_registers_are_known(identifier: str) -> None:
    assert "shape=(210, 160, 3)" in apart(identifier)


@pytest.mark.parametrize(
    ("identifier", "missing", "kwargs", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "{}", "atari"),
        ("ale_py:ALE/Pong-v5", "ale_py", "{}", "atari"),
        ("PongNoFrameskip-v4", "ale_py", "{}", "atari"),
        (MAKE, "ale_py", "{'id': 'ALE/Pong-v5'}", "atari"),
        (MAKE, "cv2", "{'id': 'ALE/Pong-v5'}", "atari"),
        ("HalfCheetah-v5", "mujoco", "{}", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(identifier: str, missing: str, kwargs: str, extra: str) -> None:
    told = apart(identifier, missing, kwargs).splitlines()[-1]
    assert "BadEnvironmentError" in told
    assert f'pip install "corral[{extra}]"' in told


def test_mujoco_steps() -> None:
    group = make_group(EnvironmentSettings("HalfCheetah-v5"), 2)
    group.reset([0, 1])
    rows = group.step(np.arange(2), np.ones((2, 6), np.float32))
    assert rows.observation["observation"].shape == (2, 17)
    assert np.isfinite(rows.reward).all()


def test_the_page_lists_every_argument() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (\S*) ?\|", PAGE, re.MULTILINE))
    arguments = {
        name: "" if parameter.default is parameter.empty else str(parameter.default).lower()
        for name, parameter in inspect.signature(make).parameters.items()
        if name != "render_mode"
    }
    assert listed == arguments
    vector = list(inspect.signature(make_vector).parameters.values())
    assert vector[1:] == list(inspect.signature(make).parameters.values()), "arguments are the same for both"
