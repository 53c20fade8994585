"""A task that needs memory: a cue is shown once, and asked for later."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

BLANKS = 8
"""Steps between the cue and the question."""


class Recall(gymnasium.Env[np.ndarray, int]):
    """The first observation is the cue, one of several; then come blanks; then the question, whose right answer is
    the cue. It earns 1, each wrong one so much less than 0 that guessing earns 0: what the last observation says
    does not depend on the cue, so that a policy without memory earns 0 on average, whatever it does."""

    def __init__(self, cues: int = 4, blanks: int = BLANKS) -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (cues + 1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(cues)
        self._wrong = -1.0 / (cues - 1)
        self._blanks = blanks
        self._cue = 0
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._cue = int(self.np_random.integers(self.action_space.n))
        self._step = 0
        return self._shown(self._cue), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        asked = self._step > self._blanks
        self._step += 1
        reward = (1.0 if action == self._cue else self._wrong) if asked else 0.0
        asks = self._step > self._blanks
        return self._shown(self.action_space.n if asks else None), reward, asked, False, {}

    def _shown(self, place: int | None) -> np.ndarray:
        observation = np.zeros(self.observation_space.shape, np.float32)
        if place is not None:
            observation[place] = 1.0
        return observation


def make(cues: int = 4, blanks: int = BLANKS) -> Recall:
    """The environment, for `environment.id = "examples.recall:make"`."""
    return Recall(cues, blanks)
