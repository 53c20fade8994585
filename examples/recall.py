"""A task that needs memory: a cue is shown once, and asked for later."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

BLANKS = 8
"""Steps between the cue and the question."""


class Recall(gymnasium.Env[np.ndarray, int]):
    """The first observation is the cue, one of two; then come blanks; then the question, whose right answer is the
    cue: it earns 1, the wrong one -1. What the last observation says does not depend on the cue, so that a policy
    without memory earns 0 on average, whatever it does."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, blanks: int = BLANKS) -> None:
        self._blanks = blanks
        self._cue = 0
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._cue = int(self.np_random.integers(2))
        self._step = 0
        return np.array([2.0 * self._cue - 1.0, 0.0], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        asked = self._step > self._blanks
        self._step += 1
        reward = (1.0 if action == self._cue else -1.0) if asked else 0.0
        question = 1.0 if self._step > self._blanks else 0.0
        return np.array([0.0, question], np.float32), reward, asked, False, {}


def make(blanks: int = BLANKS) -> Recall:
    """The environment, for `environment.id = "examples.recall:make"`."""
    return Recall(blanks)
