"""A scripted environment of two players, whose observations are as distinct as everybody's."""

from __future__ import annotations

from typing import Any

import gymnasium

from tests.support.scripted_environment import ScriptedEnvironment

PLAYERS = ("left", "right")
APART = 26
"""From the left player's number to the right one's: their episodes end alike (`episode_length`, `is_truncated`)."""


class ScriptedMatch:
    """Two scripted environments, stepped as one by PettingZoo's parallel API."""

    def __init__(self) -> None:
        self.possible_agents = list(PLAYERS)
        left, right = ScriptedEnvironment(), ScriptedEnvironment()
        right.follow(left.who + APART)
        self._sides = dict(zip(PLAYERS, (left, right), strict=True))

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self._sides[agent].observation_space

    def action_space(self, agent: str) -> gymnasium.Space:
        return self._sides[agent].action_space

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        seen = {agent: side.reset()[0] for agent, side in self._sides.items()}
        return seen, {agent: {} for agent in PLAYERS}

    def step(self, actions: dict[str, int]) -> Any:
        stepped = {agent: side.step(actions[agent]) for agent, side in self._sides.items()}
        return tuple({agent: told[part] for agent, told in stepped.items()} for part in range(5))

    def close(self) -> None:
        pass
