"""Environments with several players, by PettingZoo's parallel API: each player of each environment is a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from actor_client.actor_session import Rows
from actor_client.groups import BadEnvironmentError, ending, first_rows, row_spec, taken_spec
from actor_client.spaces import flatten
from corral.protocol.specs import mismatch
from corral.telemetry.tracer import span


def has_players(environment: Any) -> bool:
    """Whether an environment has several players rather than one."""
    return hasattr(environment, "possible_agents")


def players_of(environment: Any) -> tuple[str, ...]:
    """The names of an environment's players; none where it has not several."""
    return tuple(map(str, environment.possible_agents)) if has_players(environment) else ()


class PlayersGroup:
    """Environments of several players each, stepped one after the other.

    The rows of an environment's players follow each other, in the order of `players`: of environment `e`, player
    `p` has the row `e * len(players) + p`. They are stepped together, and the episode of all ends at once.

    Attributes:
      players: their names, in the environment's order.

    Args:
      environments: what PettingZoo calls parallel: `possible_agents`, `observation_space(agent)`,
        `action_space(agent)`, `reset(seed)` and `step(actions)`, with a dictionary of agents for everything.

    Raises:
      BadEnvironmentError: the players differ in what they see or do.
    """

    def __init__(self, environments: list[Any]) -> None:
        first = environments[0]
        self._environments = environments
        self.players = players_of(first)
        self._agents = list(first.possible_agents)
        if not self._agents:
            raise BadEnvironmentError("the environment has no players: its possible_agents is empty")
        self._space = first.observation_space(self._agents[0])
        self.size = len(environments) * len(self._agents)
        self.observation = row_spec(self._space)
        self.action = taken_spec(first.action_space(self._agents[0]))
        for agent in self._agents[1:]:
            self._check_alike(first, agent)

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        """Begin an episode everywhere; the first so many of the seeds count, one for each environment."""
        observation = self._empty(self.size)
        for index, environment in enumerate(self._environments):
            start = index * len(self._agents)
            value, _ = environment.reset(seed=seeds[index] if seeds else None)
            self._put(observation, start, value)
        return first_rows(observation, self.size)

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        """Step the environments whose players' rows `environment` names: all of an environment's, or none."""
        count, players = len(environment), len(self._agents)
        observation, final = self._empty(count), self._empty(count)
        reward, flags = np.zeros(count, np.float32), np.zeros(count, np.uint16)
        ended = 0
        for row in range(0, count, players):
            stepped = self._environments[int(environment[row]) // players]
            acts = action[row : row + players]
            chosen = {agent: _plain(act) for agent, act in zip(self._agents, acts, strict=True)}
            value, rewards, terminations, truncations, _ = stepped.step(chosen)
            reward[row : row + players] = [rewards[agent] for agent in self._agents]
            if self._over(terminations, truncations):
                self._put(final, ended, value)
                ended += players
                flags[row : row + players] = [
                    ending(bool(terminations[agent]), bool(truncations[agent])) for agent in self._agents
                ]
                value, _ = stepped.reset()
            self._put(observation, row, value)
        return Rows(environment, reward, flags, observation, {name: leaf[:ended] for name, leaf in final.items()})

    def close(self) -> None:
        for environment in self._environments:
            environment.close()

    def _over(self, terminations: Mapping[Any, Any], truncations: Mapping[Any, Any]) -> bool:
        """Whether the episode has ended, for all players."""
        over = [bool(terminations[agent] or truncations[agent]) for agent in self._agents]
        if any(over) and not all(over):
            gone = ", ".join(str(agent) for agent, is_over in zip(self._agents, over, strict=True) if is_over)
            raise BadEnvironmentError(
                f"the episode ended for {gone} and goes on for others: players must stay until all end. Wrap the "
                "environment so that it keeps them"
            )
        return all(over)

    def _check_alike(self, environment: Any, agent: Any) -> None:
        wrong = mismatch(self.observation, row_spec(environment.observation_space(agent)))
        action = {"action": taken_spec(environment.action_space(agent))}
        wrong = wrong or mismatch({"action": self.action}, action, bounds=True)
        if wrong:
            raise BadEnvironmentError(
                f"{self.players[0]} (here) and {agent} (there) see or do different things: {wrong}. Wrap the "
                "environment so that all players have the same spaces"
            )

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        return {name: leaf.zeros(rows) for name, leaf in self.observation.items()}

    def _put(self, leaves: dict[str, np.ndarray], row: int, value: Mapping[Any, Any]) -> None:
        missing = [str(agent) for agent in self._agents if agent not in value]
        if missing:
            raise BadEnvironmentError(
                f"the environment gives no observation for {', '.join(missing)}: every player must be there from "
                "an episode's start to its end"
            )
        for offset, agent in enumerate(self._agents):
            for name, leaf in flatten(self._space, value[agent]).items():
                leaves[name][row + offset] = leaf


def _plain(action: np.ndarray) -> Any:
    return action.item() if action.ndim == 0 else action
