"""Environments by PettingZoo's parallel API, whose players act at the same time: each player is a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from actor_client.groups import BadEnvironmentError
from actor_client.players import PlayedGroup, plain
from actor_client.rows import Rows
from corral.telemetry.tracer import span


class PlayersGroup(PlayedGroup):
    """Environments of several players each, stepped one after the other.

    A player whose episode ends before the environment's shows no row until the next episode that it is part of: its
    end comes with that one's first observation. One that joins in the middle has its first row then.

    Args:
      environments: what PettingZoo calls parallel: `possible_agents`, `agents`, `observation_space(agent)`,
        `action_space(agent)`, `reset(seed)` and `step(actions)`, with a dictionary of agents for everything.
      action_mask: whether `infos[agent]["action_mask"]` says what is allowed.
    """

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        """Begin an episode everywhere; the first so many of the seeds count, one for each environment."""
        self._bench.forget()
        for index in range(len(self._environments)):
            self._begin(index, seeds[index] if seeds else None)
        return self._bench.rows()

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        """Step the environments whose players' rows `environment` names: of an environment all that were shown."""
        agents = self._roster.agents
        chosen: dict[int, dict[Any, Any]] = {}
        for row, act in zip(environment.tolist(), action, strict=True):
            chosen.setdefault(row // len(agents), {})[agents[row % len(agents)]] = plain(act)
        for index, actions in chosen.items():
            self._step(index, actions)
        return self._bench.rows()

    def _begin(self, index: int, seed: int | None = None) -> None:
        observations, infos = self._environments[index].reset(seed=seed)
        _check_sight(getattr(self._environments[index], "agents", None) or self._roster.agents[:1], observations)
        for agent, observation in observations.items():
            self._show(index, agent, observation, infos)

    def _step(self, index: int, actions: dict[Any, Any]) -> None:
        environment = self._environments[index]
        observations, rewards, terminations, truncations, infos = environment.step(actions)
        gone = {agent for told in (terminations, truncations) for agent, is_over in told.items() if is_over}
        # Some environments list who has ended until the next step, or for good.
        there = [agent for agent in getattr(environment, "agents", actions) if agent not in gone]
        _check_whereabouts(actions, gone, there, observations)
        for agent in actions:
            if agent in gone:
                row, reward = self._roster.row(index, agent), float(rewards.get(agent, 0.0))
                ends = bool(terminations.get(agent)), bool(truncations.get(agent))
                self._bench.end(row, reward, *ends, self._final(row, agent, ends[0], observations, infos))
        for agent in there:
            if agent in observations:
                self._show(index, agent, observations[agent], infos, float(rewards.get(agent, 0.0)))
        if not there:
            self._begin(index)

    def _show(
        self, index: int, agent: Any, observation: Any, infos: Mapping[Any, Any], reward: float = 0.0
    ) -> None:
        leaves = self._roster.leaves(observation, infos.get(agent, {}))
        self._bench.show(self._roster.row(index, agent), leaves, reward)

    def _final(
        self, row: int, agent: Any, terminated: bool, observations: Mapping[Any, Any], infos: Mapping[Any, Any]
    ) -> Mapping[str, np.ndarray]:
        """A player's last observation."""
        if agent in observations:
            return self._roster.leaves(observations[agent], infos.get(agent, {}), ends=True)
        if terminated:
            return self._bench.seen(row)  # its value counts nothing
        raise BadEnvironmentError(
            f"{agent} is truncated without a last observation, whose value is needed: have the environment give it"
        )


def _check_whereabouts(
    actions: Mapping[Any, Any], gone: set[Any], there: list[Any], observations: Mapping[Any, Any]
) -> None:
    """Whoever acted has ended, or is there and sees something: else raises `BadEnvironmentError`."""
    lost = [str(agent) for agent in actions if agent not in gone and agent not in there]
    if lost:
        raise BadEnvironmentError(
            f"{', '.join(lost)} left the environment's agents without a termination or truncation: have the "
            "environment say how a player's episode ends"
        )
    _check_sight([agent for agent in actions if agent in there], observations)


def _check_sight(players: Iterable[Any], observations: Mapping[Any, Any]) -> None:
    """Raises `BadEnvironmentError` where one of the players sees nothing."""
    blind = [str(agent) for agent in players if agent not in observations]
    if blind:
        raise BadEnvironmentError(
            f"the environment gives no observation for {', '.join(blind)}: every player must see something as long "
            "as it is there"
        )
