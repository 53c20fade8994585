"""The sessions of an actor: for each part of its environments one with every policy that acts there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import zmq

from actor_client.actor_session import ActorSession
from actor_client.groups import EnvironmentGroup
from actor_client.joint_session import JointSession
from actor_client.lineups import Lineup
from actor_client.scout import Servers
from actor_client.settings import ActorSettings, Entrant
from corral.protocol import Work
from corral.protocol.keys import Caller


class Seating:
    """Opens sessions, and gives environments their numbers: those of one policy count on from part to part.

    Args:
      first_environment: the run-wide number of the actor's first environment; None lets the servers choose.
      lineups: all of the actor's.
      servers: where those of each policy are.
      environment: what all run, by name and arguments.
      work: what a part has come to, for its servers' figures.
    """

    def __init__(
        self,
        actor: ActorSettings,
        lineups: Sequence[Lineup],
        servers: Mapping[str, str | Servers],
        *,
        first_environment: int | None,
        environment: str,
        keys: Caller | None,
        work: Callable[[int], Work | None],
        stopping: Callable[[], bool],
        context: zmq.SyncContext,
    ) -> None:
        self._actor = actor
        self._servers = servers
        self._first = first_environment
        self._environment = environment
        self._keys = keys
        self._work = work
        self._stopping = stopping
        self._context = context
        self._seated: Counter[str] = Counter()
        self._seats = Counter(
            entrant.name for lineup in lineups for entrant in lineup.entrants for _ in lineup.environments
        )
        self._players = len(lineups[0].entrants)

    def open(self, part: int, lineup: Lineup, group: EnvironmentGroup) -> ActorSession | JointSession:
        """The session of a part, not greeted yet."""
        # Where one policy acts for everybody, only the group knows of how many players.
        playing = lineup.entrants * (group.size // len(lineup.environments) // len(lineup.entrants))
        entrants = list(dict.fromkeys(playing))
        owners = np.tile([entrants.index(each) for each in playing], len(lineup.environments))
        sessions = [
            self._session(part, entrant, group, int(np.count_nonzero(owners == index)), len(playing))
            for index, entrant in enumerate(entrants)
        ]
        return sessions[0] if len(sessions) == 1 else JointSession(sessions, owners)

    def _session(
        self, part: int, entrant: Entrant, group: EnvironmentGroup, rows: int, players: int
    ) -> ActorSession:
        first = None
        if self._first is not None:
            # Every earlier actor had as many rows with this policy as this one has.
            own = self._seats[entrant.name] * (players // self._players)
            first = self._first * own // self._actor.environments + self._seated[entrant.name]
        self._seated[entrant.name] += rows
        return ActorSession(
            self._servers[entrant.name],
            group.observation,
            group.action,
            self._actor,
            environments=rows,
            environment=self._environment,
            first_environment=first,
            keys=self._keys,
            work=partial(self._work, part),
            stopping=self._stopping,
            context=self._context,
        )
