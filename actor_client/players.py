"""Players of environments by PettingZoo's APIs: which rows they have, who acts next, whose episode has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from actor_client.groups import BadEnvironmentError, ending, row_leaves, row_spec, taken_spec
from actor_client.rows import Rows
from corral.protocol import ENDED, Spec
from corral.protocol.specs import mismatch


def has_players(environment: Any) -> bool:
    """Whether an environment has several players rather than one."""
    return hasattr(environment, "possible_agents")


def players_of(environment: Any) -> tuple[str, ...]:
    """The names of an environment's players; none where it has not several."""
    return tuple(map(str, environment.possible_agents)) if has_players(environment) else ()


class Roster:
    """The players of environments of one kind: what they see and do, and which rows are theirs.

    The rows of an environment's players follow each other, in the order of `agents`: of environment `e`, player `p`
    has the row `e * len(agents) + p`.

    Args:
      environment: one of them, with `possible_agents`, `observation_space(agent)` and `action_space(agent)`.
      action_mask: whether a player's info says which actions are allowed.

    Attributes:
      agents: in the environment's order.
      observation, action: one row of what they see and do.

    Raises:
      BadEnvironmentError: there are none, or they differ in what they see or do.
    """

    def __init__(self, environment: Any, action_mask: bool) -> None:
        self._masked = action_mask
        self.agents = list(environment.possible_agents)
        if not self.agents:
            raise BadEnvironmentError("the environment has no players: its possible_agents is empty")
        self._space = self._space_of(environment, self.agents[0])
        self.observation = row_spec(self._space)
        self.action = taken_spec(environment.action_space(self.agents[0]))
        for agent in self.agents[1:]:
            self._check_alike(environment, agent)

    def row(self, environment: int, agent: Any) -> int:
        """The row of a player."""
        return environment * len(self.agents) + self.agents.index(agent)

    def leaves(self, observation: Any, info: Mapping[Any, Any], ends: bool = False) -> dict[str, np.ndarray]:
        """The leaves of one player's observation; where its episode `ends`, it need not be told what is allowed."""
        if self._masked:
            from actor_client.action_mask import LEAF, masked

            observation = masked(observation, {LEAF: np.ones(self._space[LEAF].shape), **info} if ends else info)
        return row_leaves(self._space, self.observation, observation)

    def _space_of(self, environment: Any, agent: Any) -> Any:
        space = environment.observation_space(agent)
        if not self._masked:
            return space
        from actor_client.action_mask import masked_space

        return masked_space(space, environment.action_space(agent))

    def _check_alike(self, environment: Any, agent: Any) -> None:
        wrong = mismatch(self.observation, row_spec(self._space_of(environment, agent)))
        action = {"action": taken_spec(environment.action_space(agent))}
        wrong = wrong or mismatch({"action": self.action}, action, bounds=True)
        if wrong:
            raise BadEnvironmentError(
                f"{self.agents[0]} (here) and {agent} (there) see or do different things: {wrong}. Wrap the "
                "environment so that all players have the same spaces"
            )


class Bench:
    """The rows of a group's players: each is playing, or has ended and waits for its next episode.

    A row that ends is shown with its player's first observation of the next episode, so it waits for that: until
    then the player shows no row, and acts on nothing.

    Args:
      observation: one row of what players see.
      size: rows of the group.
    """

    def __init__(self, observation: Spec, size: int) -> None:
        self._size = size
        self._observation = observation
        self._final = {name: leaf.zeros(size) for name, leaf in observation.items()}
        self._shown = {name: leaf.zeros(size) for name, leaf in observation.items()}
        self.forget()

    def forget(self) -> None:
        """Nobody plays, and no episode has ended yet."""
        self._playing = np.zeros(self._size, bool)
        self._flags = np.zeros(self._size, np.uint16)
        self._reward = np.zeros(self._size, np.float32)
        self._turn = np.zeros(self._size, bool)

    def plays(self, row: int) -> bool:
        """Whether an episode of this row's is under way."""
        return bool(self._playing[row])

    def end(
        self, row: int, reward: float, terminated: bool, truncated: bool, final: Mapping[str, np.ndarray]
    ) -> None:
        """The row's episode has ended."""
        self._playing[row] = False
        self._reward[row], self._flags[row] = reward, ending(terminated, truncated)
        for name, leaf in final.items():
            self._final[name][row] = leaf

    def show(self, row: int, observation: Mapping[str, np.ndarray], reward: float = 0.0) -> None:
        """The row is to act on an observation: of its episode or, where none is under way, the first of the next.

        Args:
          reward: of the step that led here, within an episode.
        """
        if self._playing[row]:
            self._reward[row], self._flags[row] = reward, 0
        elif not self._flags[row] & ENDED:
            self._reward[row], self._flags[row] = 0.0, ending(False, False)
        self._playing[row] = self._turn[row] = True
        for name, leaf in observation.items():
            self._shown[name][row] = leaf

    def seen(self, row: int) -> dict[str, np.ndarray]:
        """The observation that the row was shown last."""
        return {name: leaf[row] for name, leaf in self._shown.items()}

    def rows(self) -> Rows:
        """The rows that were shown since this was asked last, in ascending order."""
        index = np.flatnonzero(self._turn).astype(np.uint16)
        flags, reward = self._flags[index], self._reward[index]
        ended = index[(flags & ENDED) != 0]
        observation = {name: leaf[index] for name, leaf in self._shown.items()}
        final = {name: leaf[ended] for name, leaf in self._final.items()}
        self._turn[:] = False
        self._flags[index] = 0
        return Rows(index, reward, flags, observation, final)


class PlayedGroup:
    """Environments of several players each, stepped one after the other.

    Attributes:
      players: their names, in the environment's order.
      size: rows of all players.
      observation, action: one row of what they see and do.

    Args:
      environments: of one kind; see the API's own group for what they must have.
      action_mask: whether a player's info has "action_mask", which says what is allowed.

    Raises:
      BadEnvironmentError: the players differ in what they see or do.
    """

    def __init__(self, environments: list[Any], action_mask: bool = False) -> None:
        self._environments = environments
        self._roster = roster = Roster(environments[0], action_mask)
        self.players = players_of(environments[0])
        self.size = len(environments) * len(roster.agents)
        self.observation, self.action = roster.observation, roster.action
        self._bench = Bench(self.observation, self.size)

    def close(self) -> None:
        """Close every environment."""
        for environment in self._environments:
            environment.close()


def plain(action: np.ndarray) -> Any:
    """One action as environments take it: a number where it is one."""
    return action.item() if action.ndim == 0 else action
