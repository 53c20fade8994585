"""The scripted environment, whose steps take a while: `tests.support.sleepy_environment:make`."""

from __future__ import annotations

import time
from typing import Any

from tests.support.scripted_environment import ScriptedEnvironment


class SleepyEnvironment(ScriptedEnvironment):
    """Sleeps for `sleep_s` in each step: as slow whatever else the machine does."""

    def __init__(self, sleep_s: float) -> None:
        super().__init__()
        self._sleep_s = sleep_s

    def step(self, action: int) -> Any:
        time.sleep(self._sleep_s)
        return super().step(action)


make = SleepyEnvironment
