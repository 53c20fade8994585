"""A part of an actor's environments: they are stepped together, and have a session of their own, or several."""

from __future__ import annotations

import logging

import numpy as np

from actor_client.actor_session import ActorSession, SessionLostError
from actor_client.groups import EnvironmentGroup
from actor_client.joint_session import JointSession
from actor_client.rows import Rows
from actor_client.seeds import environment_seeds
from actor_client.timesheet import Timesheet
from actor_client.watchdog import Watchdog

log = logging.getLogger(__name__)


class Part:
    """Environments, their session, and what stands between the two: rows to be sent, or an answer to be awaited.

    Belongs to one thread, which gives each part its turns: `hand_in` what it has to send, `look` whether it can go
    on, and `step` it then. None of these waits but for the environments.

    Args:
      number: which of the actor's parts it is, from 0.
      seed: of the run; each environment's own seed is drawn from it and its number.
      watchdog: watches every call of the environments.
      lockstep: whether environments are seeded in every session, by the policy version too that it began with.

    Attributes:
      joined: whether it has a session.
    """

    def __init__(
        self,
        number: int,
        group: EnvironmentGroup,
        session: ActorSession | JointSession,
        *,
        seed: int,
        sheet: Timesheet,
        watchdog: Watchdog,
        lockstep: bool = False,
    ) -> None:
        self.number = number
        self.session = session
        self._group = group
        self._seed = seed
        self._sheet = sheet
        self._watchdog = watchdog
        self._lockstep = lockstep
        self.joined = False
        self._has_played = False
        self._address = ""
        self._rows: Rows | None = None
        self._asked = np.zeros(0, np.uint16)
        self._begins = False

    def join(self) -> None:
        """Ask for a session: shortly before the first `look`, since nobody keeps it alive before."""
        self.session.greet()

    def hand_in(self) -> None:
        """Send the rows that are to be acted on, if there are any, unless the session should move on before.

        Where the session is new, these are the first ones after a reset of the environments.
        """
        if self._begins:
            self._reset()
        if self._rows is not None and (address := self.session.better) is not None:
            log.info("moving from %s to %s, which has fewer environments", self.session.address, address)
            self._rows = None
            self._tell(False)
            self.session.move(address)
        if self._rows is not None:
            rows, self._rows = self._rows, None
            self._asked = rows.environment
            self.session.send(rows)

    def look(self) -> np.ndarray | None:
        """The actions for the rows that were handed in; None where they are not here yet.

        A session that is lost is asked for again.

        Raises:
          ProtocolError: the server will not have this actor, or refuses its rows.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        if not self.joined:
            if self.session.welcomed():
                self._begin()
            return None
        try:
            return self.session.receive()
        except SessionLostError as lost:
            log.warning("joining again: %s: %s", self.session.address, lost)
            self._tell(False)
            self.session.greet()
            return None

    def step(self, action: np.ndarray) -> None:
        """Step the environments whose rows were handed in with `action`, `[n, ...]`."""
        self._rows = self._watchdog.call(self._group.step, self._asked, action)

    def _begin(self) -> None:
        first = self.session.first_environment
        numbers = f"{first} to {first + self._group.size - 1}"
        log.info("joined %s %swith environments %s", self.session.address, "again, " * self._has_played, numbers)
        self._sheet.moves += self._has_played and self.session.address != self._address
        self._address = self.session.address
        self._begins = True
        self._tell(True)

    def _reset(self) -> None:
        first = self.session.first_environment
        self._sheet.works(self.number)
        seeds = None
        if self._lockstep:
            seeds = environment_seeds(self._seed, first, self._group.size, self.session.policy_version)
        elif not self._has_played:
            seeds = environment_seeds(self._seed, first, self._group.size)
        self._rows = self._watchdog.call(self._group.reset, seeds)
        self._sheet.waits()
        self._has_played, self._begins = True, False

    def _tell(self, has_session: bool) -> None:
        self.joined = has_session
        self._sheet.session(self.number, has_session)
