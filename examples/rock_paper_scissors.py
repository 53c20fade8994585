"""Rock, paper, scissors: a game of two players by PettingZoo's parallel API, as an example of one's own."""

from __future__ import annotations

from typing import Any

import gymnasium

PLAYERS = ["first", "second"]
NOTHING = 3
"""What a player sees before the first round."""


class RockPaperScissors:
    """Ten rounds of it. A player sees what the other showed last; a win earns 1, a loss -1, a draw nothing."""

    def __init__(self, rounds: int = 10) -> None:
        self.possible_agents = PLAYERS
        self._rounds = rounds
        self._round = 0

    def observation_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(4)

    def action_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(3)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, int], dict[str, Any]]:
        self._round = 0
        return dict.fromkeys(PLAYERS, NOTHING), {agent: {} for agent in PLAYERS}

    def step(self, actions: dict[str, int]) -> Any:
        self._round += 1
        first, second = (actions[agent] for agent in PLAYERS)
        won = (0, 1, -1)[(first - second) % 3]  # rock 0, paper 1, scissors 2: each beats the one before it
        over = self._round == self._rounds
        return (
            {"first": second, "second": first},
            {"first": float(won), "second": float(-won)},
            dict.fromkeys(PLAYERS, over),
            dict.fromkeys(PLAYERS, False),
            {agent: {} for agent in PLAYERS},
        )

    def close(self) -> None:
        pass
