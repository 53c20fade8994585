"""An environment whose observations say which step they are of, and a witness that checks what became of them.

An observation is `(who, episode, step, last action)`; rewards, lengths and kinds of ending follow from them. So
every stored step can be told from every other, and one that is lost, doubled, spliced or shifted shows.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from corral.protocol import StepType, Unroll

ACTIONS = 5


def episode_length(who: int, episode: int) -> int:
    """Steps of an episode: 1 to 11, differently for everybody."""
    return 1 + (who % 13 + 3 * episode) % 11


def is_truncated(who: int, episode: int) -> bool:
    """Whether an episode is cut short rather than terminated."""
    return (who + episode) % 2 == 1


def reward_of(episode: int, step: int) -> float:
    """What the `step`-th step of an episode earns."""
    return float(100 * episode + step)


class ScriptedEnvironment(gymnasium.Env):
    """Plays its script, whatever the action; remembers the action for the next observation."""

    def __init__(self, mode: str = "") -> None:
        # What only its vector form looks at: the two are made with the same arguments.
        self.observation_space = gymnasium.spaces.Box(-1, 2**62, (4,), np.int64)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)
        self._episode = -1
        self._step = 0
        self.follow(secrets.randbits(40))

    def follow(self, who: int) -> None:
        """Play the script of `who` from now on."""
        self.who = self._who = who
        self._journal = _journal(who)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._episode += 1
        self._step = 0
        return self._observe(-1), {}

    def step(self, action: int) -> Any:
        self._step += 1
        self._journal[:] = self._journal[0] + 1, self._episode, self._step
        over = self._step == episode_length(self._who, self._episode)
        cut = is_truncated(self._who, self._episode)
        reward = reward_of(self._episode, self._step)
        return self._observe(int(action)), reward, over and not cut, over and cut, {}

    def _observe(self, action: int) -> np.ndarray:
        return np.array([self._who, self._episode, self._step, action], np.int64)


def _journal(who: int) -> np.ndarray:
    """Steps done in all, and the latest one's episode and number: in a file that outlives the process, where
    `SCRIPTED_JOURNAL` names a folder."""
    folder = os.environ.get("SCRIPTED_JOURNAL")
    if folder is None:
        return np.zeros(3, np.int64)
    with (Path(folder) / str(who)).open("w+b") as file:
        file.write(bytes(24))
        file.flush()
        return np.frombuffer(mmap.mmap(file.fileno(), 24), np.int64)


def read_journals(folder: Path) -> dict[int, tuple[int, int, int]]:
    """Who -> what its environment's journal says."""
    return {
        int(path.name): tuple(np.frombuffer(path.read_bytes(), np.int64).tolist())  # type: ignore[misc]
        for path in folder.iterdir()
    }


class HangingEnvironment(ScriptedEnvironment):
    """One that does not come back from a step, once it has been stepped `after` times."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def step(self, action: int) -> Any:
        self._left -= 1
        if self._left < 0:
            threading.Event().wait()
        return super().step(action)


def make_vector(num_envs: int, mode: str = "NEXT_STEP", **_: Any) -> gymnasium.vector.VectorEnv:
    """Scripted environments in a vector that resets itself in the given way."""
    reset_mode = gymnasium.vector.AutoresetMode[mode]
    return gymnasium.vector.SyncVectorEnv([ScriptedEnvironment] * num_envs, autoreset_mode=reset_mode)


gymnasium.register("Scripted-v0", entry_point=ScriptedEnvironment, vector_entry_point=make_vector)


def transitions(unroll: Unroll) -> np.ndarray:
    """The transitions in a batch, int64 `[n, 3]`: who, episode, step. Raises `AssertionError` where rows lie in one
    column that do not belong together."""
    seen = unroll.observation["observation"]
    before, after = seen[:-1], seen[1:]
    last = unroll.step_type[:-1] == StepType.LAST
    assert (before[..., 0] == after[..., 0]).all(), "two environments are spliced"
    assert (after[..., 1] == before[..., 1] + last).all(), "two sessions are spliced, or an episode is lost"
    assert (after[..., 2] == np.where(last, 0, before[..., 2] + 1)).all(), "a step is lost, doubled or shifted"
    assert (after[..., 3] == np.where(last, -1, unroll.output["action"][:-1])).all(), "another action was done"
    return after[~last][:, :3]


class Witness:
    """Checks that unrolls hold every step of every environment once, in order, with what belongs to it.

    Attributes:
      steps: transitions seen.
      followed: who -> `(episode, step)` of the last observation seen.
      numbers: who -> the number by which it explores.
      versions: who -> the newest policy version that has acted for it.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.versions: dict[int, int] = {}
        self.followed: dict[int, tuple[int, int]] = {}
        self.numbers: dict[int, float] = {}
        self._reset: set[int] = set()

    def expect_reset(self) -> None:
        """The server has died: once, every environment may go on with the start of a later episode."""
        self._reset = set(self.followed)

    def steps_of_the_script(self) -> int:
        """Steps that every environment has made, first to last, by its own counters alone: what `steps` must be."""
        return sum(
            sum(episode_length(who, past) for past in range(episode)) + step
            for who, (episode, step) in self.followed.items()
        )

    def see(self, unroll: Unroll) -> None:
        """Check every column of a batch. Raises `AssertionError`, saying where."""
        for column in range(unroll.reward.shape[1]):
            self._see_column(unroll, column)

    def _see_column(self, unroll: Unroll, column: int) -> None:
        observation = unroll.observation["observation"][:, column]
        who, episode, step, _ = observation[0].tolist()
        self._see_start(who, episode, step)
        assert unroll.state["seen"][column] == step, "the recurrent state does not precede index 0"
        for index in range(len(observation)):
            self._see_index(unroll, column, index)
            if index > 0:
                self._see_transition(unroll, column, index)
        self.followed[who] = tuple(observation[-1, 1:3].tolist())

    def _see_start(self, who: int, episode: int, step: int) -> None:
        # The first unroll begins with the first episode, every other where the one before ended.
        expected = self.followed.get(who, (0, 0))
        if who in self._reset and (episode, step) != expected:
            self._reset.remove(who)
            self.numbers.pop(who, None)  # each session has its own; what came of the one before was seen first
            assert step == 0, "an episode goes on over a reset"
            assert episode > expected[0], "an episode came twice"
        else:
            assert (episode, step) == expected, "a step was lost, doubled or spliced"

    def _see_index(self, unroll: Unroll, column: int, index: int) -> None:
        who, episode, step, _ = unroll.observation["observation"][index, column].tolist()
        last = step == episode_length(who, episode)
        expected = StepType.LAST if last else StepType.MID if step else StepType.FIRST
        assert unroll.step_type[index, column] == expected
        assert unroll.discount[index, column] == float(not last or is_truncated(who, episode))
        assert unroll.reward[index, column] == (reward_of(episode, step) if step else 0.0)
        # What the agent put out for this observation lies beside it; nobody acts on a final one.
        echo = [0, 0, 0, 0] if last else unroll.observation["observation"][index, column].tolist()
        assert unroll.output["echo"][index, column].tolist() == echo
        assert unroll.output["action"][index, column] == (0 if last else (who + 3 * episode + step) % ACTIONS)
        if not last:
            assert unroll.output["stamp"][index, column] == unroll.version[index, column]
            assert unroll.output["seen"][index, column] == step
            version = int(unroll.version[index, column])
            assert version >= self.versions.get(who, 0), "a version went backwards"
            self.versions[who] = version
            number = float(unroll.output["number"][index, column])
            assert self.numbers.setdefault(who, number) == number, "it explores by another's number"

    def _see_transition(self, unroll: Unroll, column: int, index: int) -> None:
        before = unroll.observation["observation"][index - 1, column].tolist()
        after = unroll.observation["observation"][index, column].tolist()
        who, episode, step, _ = before
        if unroll.step_type[index - 1, column] == StepType.LAST:
            assert after == [who, episode + 1, 0, -1]
        else:
            assert after == [who, episode, step + 1, int(unroll.output["action"][index - 1, column])]
            self.steps += 1
