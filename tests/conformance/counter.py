"""The environment that every client under test plays (README.md, "The environment"): nothing in it is chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.conformance.wire import FIRST, TERMINATED, TRUNCATED, Leaves, Row

LABEL = "Counter"
ENVIRONMENTS = 2
ACTIONS = 5
OBSERVATION: dict[str, list[Any]] = {
    "count": [[2], "int32", None, None],
    "echo": [[3], "float32", None, None],
    "mark": [[2, 2], "uint8", None, None],
}
ACTION: dict[str, list[Any]] = {"action": [[], "int64", 0, ACTIONS - 1]}
INFER_ROWS = 3


def observe(environment: int, episode: int, step: int, action: int = 0, reward: float = 0) -> Leaves:
    """The observation of a step; at a reset there is no action and no reward yet."""
    return {
        "count": [episode, step],
        "echo": [environment, action, reward],
        "mark": [step % 256, episode % 256, environment, action],
    }


@dataclass
class Counter:
    """One environment: it counts episodes from 1, steps from 0, and echoes what it was told.

    Attributes:
      environment: its number, 0 or 1.
    """

    environment: int
    episode: int = 0
    count: int = 0

    def reset(self) -> Leaves:
        self.episode += 1
        self.count = 0
        return observe(self.environment, self.episode, 0)

    def step(self, action: int) -> tuple[Leaves, float, bool, bool]:
        """Observation, reward, terminated, truncated."""
        self.count += 1
        reward = action + self.environment / 2
        ended = self.count == 3 + self.environment
        odd = self.episode % 2 == 1
        observation = observe(self.environment, self.episode, self.count, action, reward)
        return observation, reward, ended and odd, ended and not odd

    def row(self, action: int | None) -> Row:
        """The row that a client sends next: after `action`, or the first one of a session."""
        if action is None:
            return Row(self.environment, 0, FIRST, self.reset(), None)
        observation, reward, terminated, truncated = self.step(action)
        if not terminated and not truncated:
            return Row(self.environment, reward, 0, observation, None)
        flags = FIRST | (TERMINATED if terminated else TRUNCATED)
        return Row(self.environment, reward, flags, self.reset(), observation)
