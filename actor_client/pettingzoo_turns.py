"""Environments by PettingZoo's AEC API, whose players act one after the other: each player is a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from actor_client.players import PlayedGroup, plain
from actor_client.rows import Rows
from corral.telemetry.tracer import span


def takes_turns(environment: Any) -> bool:
    """Whether an environment's players act one after the other."""
    return hasattr(environment, "agent_iter")


class TurnsGroup(PlayedGroup):
    """Environments of several players that take turns, each stepped until it is somebody's turn.

    Of an environment only the player whose turn it is shows a row. Its reward is all that it earned since it acted
    last, while others did. Where its episode has ended, that is told with its first turn of the next one.

    Args:
      environments: what PettingZoo calls AEC: `possible_agents`, `observation_space(agent)`, `action_space(agent)`,
        `reset(seed)`, `last()`, `step(action)`, `agents` and `agent_selection`.
      action_mask: whether a player's info has "action_mask".
    """

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        """Begin an episode everywhere; the first so many of the seeds count, one for each environment."""
        self._bench.forget()
        for index, environment in enumerate(self._environments):
            environment.reset(seed=seeds[index] if seeds else None)
            self._next_turn(index)
        return self._bench.rows()

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        """Do what the players do whose turn it was."""
        for row, act in zip(environment.tolist(), action, strict=True):
            index = row // len(self._roster.agents)
            self._environments[index].step(plain(act))
            self._next_turn(index)
        return self._bench.rows()

    def _next_turn(self, index: int) -> None:
        """Go on until somebody is to act, with another episode where one is over, and show that row."""
        environment = self._environments[index]
        while True:
            if not environment.agents:
                environment.reset()
            agent = environment.agent_selection
            observation, reward, terminated, truncated, info = environment.last()
            row = self._roster.row(index, agent)
            leaves = self._roster.leaves(observation, info, ends=bool(terminated or truncated))
            if not (terminated or truncated):
                self._bench.show(row, leaves, float(reward))
                return
            if self._bench.plays(row):  # who has not acted yet has no step that ends
                self._bench.end(row, float(reward), bool(terminated), bool(truncated), leaves)
            environment.step(None)
