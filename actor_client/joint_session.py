"""Sessions that step together: one for each policy that has players in the same environments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actor_client.actor_session import ActorSession, SessionLostError
from actor_client.rows import Rows
from corral.protocol import ENDED


class JointSession:
    """Several sessions, used as one: every row goes to the session of its player, and all are waited for.

    The rows of one environment belong together. So where one session is lost all of them are given up, and every
    environment begins anew: no unroll of any policy goes on over that.

    Args:
      sessions: one for each policy.
      owners: int `[rows]`: which of the sessions each row of the environments belongs to.
    """

    def __init__(self, sessions: Sequence[ActorSession], owners: np.ndarray) -> None:
        self._sessions = tuple(sessions)
        self._owners = owners
        # What a row is called in its own session: its place among the rows of the same owner.
        self._seats = np.zeros(len(owners), np.uint16)
        for owner in range(len(sessions)):
            own = owners == owner
            self._seats[own] = np.arange(np.count_nonzero(own))
        self._welcomed = [False] * len(sessions)
        self._asked: dict[int, np.ndarray] = {}
        self._answers: dict[int, np.ndarray] = {}
        self._better: tuple[ActorSession, str] | None = None

    @property
    def address(self) -> str:
        """Those of the servers, for people."""
        return " and ".join(session.address for session in self._sessions)

    @property
    def lines(self) -> tuple[ActorSession, ...]:
        """What is to be waited for."""
        return self._sessions

    @property
    def policy_version(self) -> int:
        """The first policy's that computed the latest actions."""
        return self._sessions[0].policy_version

    @property
    def first_environment(self) -> int:
        """The run-wide number of the first row, as its server has it."""
        return self._sessions[0].first_environment

    def greet(self) -> None:
        """Ask for all sessions anew, in place of any that there were."""
        self._forget()
        for session in self._sessions:
            session.greet()

    @property
    def better(self) -> str | None:
        """Where one of the sessions should `move` to before anything is sent again; None where all should stay."""
        found = ((session, address) for session in self._sessions if (address := session.better) is not None)
        self._better = next(found, None)
        return self._better and self._better[1]

    def move(self, address: str) -> None:
        """Leave all servers, and greet them anew: in place of one of them the one at `address`."""
        self._forget()
        for session in self._sessions:
            if self._better is not None and session is self._better[0]:
                session.move(address)
            else:
                session.greet()

    def welcomed(self) -> bool:
        """Whether all sessions are open. Never waits. Raises as `ActorSession.welcomed`."""
        for index, session in enumerate(self._sessions):
            self._welcomed[index] = self._welcomed[index] or session.welcomed()
        return all(self._welcomed)

    def send(self, rows: Rows) -> None:
        """Send each policy its rows; those before must have been answered."""
        owners = self._owners[rows.environment]
        ended = owners[(rows.flags & ENDED) != 0]
        self._asked, self._answers = {}, {}
        for index, session in enumerate(self._sessions):
            own = np.flatnonzero(owners == index)
            if not len(own):
                continue
            finals = np.flatnonzero(ended == index)
            self._asked[index] = own
            session.send(
                Rows(
                    environment=self._seats[rows.environment[own]],
                    reward=rows.reward[own],
                    flags=rows.flags[own],
                    observation={name: leaf[own] for name, leaf in rows.observation.items()},
                    final={name: leaf[finals] for name, leaf in rows.final.items()},
                )
            )

    def receive(self) -> np.ndarray | None:
        """The actions for the rows that were sent, `[n, ...]`; None while any are missing. Never waits.

        Raises:
          SessionLostError: join again, and reset every environment.
          ProtocolError: rows were refused.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        for index in self._asked.keys() - self._answers.keys():
            session = self._sessions[index]
            try:
                answer = session.receive()
            except SessionLostError as lost:
                raise SessionLostError(f"{session.address}: {lost}") from lost
            if answer is not None:
                self._answers[index] = answer
        if len(self._answers) < len(self._asked):
            return None
        first = next(iter(self._answers.values()))
        count = sum(map(len, self._asked.values()))
        action = np.empty((count, *first.shape[1:]), first.dtype)
        for index, own in self._asked.items():
            action[own] = self._answers[index]
        return action

    def leave(self) -> None:
        """End all sessions, and close their sockets."""
        for session in self._sessions:
            session.leave()

    def abandon(self) -> None:
        """End all sessions from another thread than their own, which hangs."""
        for session in self._sessions:
            session.abandon()

    def _forget(self) -> None:
        """Nothing is under way, and no session open."""
        self._asked, self._answers = {}, {}
        self._welcomed = [False] * len(self._sessions)
