"""The scripted environment, whose steps take a while: `tests.support.sleepy_environment:make`."""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np

from tests.support.scripted_environment import ScriptedEnvironment


class SleepyEnvironment(ScriptedEnvironment):
    """Sleeps for `sleep_s` in each step: as slow whatever else the machine does."""

    def __init__(self, sleep_s: float) -> None:
        super().__init__()
        self._sleep_s = sleep_s

    def step(self, action: int) -> Any:
        time.sleep(self._sleep_s)
        return super().step(action)


class SleepyVector(gymnasium.vector.SyncVectorEnv):
    """The same, stepped together: one sleep, for as long as all of them take one after another."""

    def __init__(self, num_envs: int, sleep_s: float) -> None:
        super().__init__([ScriptedEnvironment] * num_envs, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)
        self._sleep_s = num_envs * sleep_s

    def step(self, actions: np.ndarray) -> Any:
        time.sleep(self._sleep_s)
        return super().step(actions)


make, make_vector = SleepyEnvironment, SleepyVector
