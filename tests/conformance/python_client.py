"""Our own client under test: `python -m tests.conformance.python_client ADDRESS TASK COUNT SLOW_MS`."""

from __future__ import annotations

import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from actor_client import ActorSettings, EnvironmentSettings, PolicyClient, run_actor
from tests.conformance.counter import ACTIONS, ENVIRONMENTS, INFER_ROWS, LABEL, OBSERVATION, Counter, observe
from tests.conformance.wire import Leaves

RESEND_AFTER_S = 0.5
steps = 0
"""Environment steps so far, of all environments."""
made = 0
"""Environments so far."""


class CounterEnvironment(gymnasium.Env[Any, Any]):
    """The suite's environment for gymnasium. `slow_ms` are slept in each step of the first one."""

    observation_space = spaces.Dict(
        {
            "count": spaces.Box(-(2**31), 2**31 - 1, (2,), np.int32),
            "echo": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "mark": spaces.Box(0, 255, (2, 2), np.uint8),
        }
    )
    action_space = spaces.Discrete(ACTIONS)

    def __init__(self, slow_ms: int) -> None:
        global made
        self._counter = Counter(made)
        self._slow_s = 0 if made else slow_ms / 1000
        made += 1

    def reset(self, **options: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return row(self._counter.reset()), {}

    def step(self, action: np.int64) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        global steps
        steps += 1
        time.sleep(self._slow_s)
        observation, reward, terminated, truncated = self._counter.step(int(action))
        return row(observation), reward, terminated, truncated, {}


def make(slow_ms: int) -> CounterEnvironment:
    """For `EnvironmentSettings`."""
    return CounterEnvironment(slow_ms)


class Labelled(EnvironmentSettings):
    """The settings of the environment under the suite's name for it."""

    @property
    def label(self) -> str:
        return LABEL


def row(leaves: Leaves) -> dict[str, np.ndarray]:
    """Leaf -> array."""
    return {name: np.array(leaves[name], dtype).reshape(shape) for name, (shape, dtype, *_) in OBSERVATION.items()}


def stacked(rows: list[Leaves]) -> dict[str, np.ndarray]:
    """Leaf -> `[rows, ...]`."""
    return {name: np.stack([row(leaves)[name] for leaves in rows]) for name in OBSERVATION}


def play(address: str, count: int, slow_ms: int) -> None:
    """Take `count` answers."""
    settings = Labelled(f"{__name__}:make", {"slow_ms": slow_ms}, "none")
    actor = ActorSettings(environments=ENVIRONMENTS, resend_after_s=RESEND_AFTER_S)
    run_actor(settings, actor, address, stopping=lambda: steps >= count * ENVIRONMENTS)


def infer(address: str, count: int) -> None:
    """Take `count` answers, asking each time with what the last one said."""
    value, action = np.zeros(INFER_ROWS), np.zeros(INFER_ROWS)
    with PolicyClient(address, timeout_s=4 * RESEND_AFTER_S) as client:
        for asked in range(1, count + 1):
            rows = [observe(i, i + 1, asked, action[i], value[i]) for i in range(INFER_ROWS)]
            outputs = client.infer(stacked(rows))
            value, action = outputs["value"], outputs["action"]


if __name__ == "__main__":
    address, task, count, slow_ms = sys.argv[1:]
    # The environment is found by its module's name, which is not __main__.
    from tests.conformance import python_client

    if task == "play":
        python_client.play(address, int(count), int(slow_ms))
    else:
        python_client.infer(address, int(count))
