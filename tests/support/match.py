"""Games of two, by PettingZoo's parallel API: what the tests of players and policies play."""

from __future__ import annotations

from typing import Any

import gymnasium

PLAYERS = ("left", "right")
LENGTH = 4


class RockPaperScissors:
    """Four rounds of it; each sees what the other showed last. 1 for a win, -1 for a loss, 0 for a draw.

    Args:
      length: rounds of an episode.
      cut: whether the last round truncates the episode rather than terminates it.
    """

    def __init__(self, length: int = LENGTH, cut: bool = False) -> None:
        self.possible_agents = list(PLAYERS)
        self.agents: list[str] = []
        self._length, self._cut = length, cut
        self._round = 0

    def observation_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(4)

    def action_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = list(PLAYERS)
        self._round = 0
        return dict.fromkeys(PLAYERS, 3), {agent: {} for agent in PLAYERS}

    def step(self, actions: dict[str, int]) -> Any:
        assert set(actions) == set(PLAYERS)
        self._round += 1
        left, right = (actions[agent] for agent in PLAYERS)
        won = (0, 1, -1)[(left - right) % 3]
        over = self._round == self._length
        ended = dict.fromkeys(PLAYERS, over and not self._cut), dict.fromkeys(PLAYERS, over and self._cut)
        if over:
            self.agents = []
        rewards = {"left": float(won), "right": float(-won)}
        return {"left": right, "right": left}, rewards, *ended, {agent: {} for agent in PLAYERS}

    def close(self) -> None:
        pass


class HighCard(RockPaperScissors):
    """Who shows the higher of three cards wins: the highest beats or draws with whatever comes."""

    def step(self, actions: dict[str, int]) -> Any:
        seen, _, *rest = super().step(actions)
        won = float(actions["left"] > actions["right"]) - float(actions["left"] < actions["right"])
        return seen, {"left": won, "right": -won}, *rest


class Deserting(RockPaperScissors):
    """One where the left player is gone after a step, and nobody says how its episode ended."""

    def step(self, actions: dict[str, int]) -> Any:
        told = super().step(actions)
        self.agents = ["right"]
        return told


class Unlike(RockPaperScissors):
    """One where the players have different actions."""

    def action_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(3 if agent == "left" else 4)


class Shrinking(RockPaperScissors):
    """One that forgets a player."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed)
        return {"left": 3}, {}
