"""Sessions: one actor connection's life, and what makes its steps happen once (docs/protocol.md, "Sessions")."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from corral.protocol import ErrorCode, ProtocolError, Work
from inference_server.slots import Slots

MAX_ENVIRONMENT = 2**62
"""Highest run-wide number of an environment: numbers of slots and steps beside it fit 64 bits."""
STRIKES = 3
"""Malformed messages after which a session ends."""


@dataclass(slots=True, eq=False)
class Session:
    """One actor's session.

    Attributes:
      token: unguessable; names the session in every message.
      nonce: what the actor called its HELLO; a doubled HELLO finds the session that the first one opened.
      routing: where the latest message came from; replies go there.
      slots: int64 `[environments]`, ascending.
      first_environment: the run-wide number of the first of its environments.
      answered: the sequence of the last STEP that was answered.
      waiting: whether a STEP (sequence `answered + 1`) waits for its answer.
      reply: the last answer, for a resend of its request.
      key: whose key opened it; empty where the server has no keys.
      seen: clock reading of the last sign of life.
      strikes: malformed messages so far.
      host: the name of the actor's machine, as it says; empty where it does not.
      told: what the actor has told of its work, the latest word and the one before, and when each came.
      closed: whether it has ended; its slots stay taken until the step that waits is done.
    """

    token: int
    nonce: int
    routing: bytes
    slots: np.ndarray
    first_environment: int
    seen: float
    key: str = ""
    answered: int = 0
    waiting: bool = False
    reply: bytes = b""
    strikes: int = 0
    host: str = ""
    told: tuple[tuple[float, Work], tuple[float, Work]] | None = None
    closed: bool = False


class Admission(Enum):
    """What a STEP's sequence number makes of it."""

    NEW = auto()  # the next step: do it
    WAITING = auto()  # a resend of the step that waits: its answer will find the new address
    ANSWERED = auto()  # a resend of the last step: its answer is sent again, and nothing advances


# Looked up here once: the members of an enumeration are found by a slow path, and this is asked of every message.
_NEW, _WAITING, _ANSWERED = Admission.NEW, Admission.WAITING, Admission.ANSWERED


class Sessions:
    """Every session that lives, by token and by nonce.

    Args:
      slots: where sessions take their seats.
      lease_s: seconds of silence that a session survives.
      clock: seconds, monotonic.
      first_number: the lowest run-wide number that it gives to environments of its own accord.
    """

    def __init__(self, slots: Slots, lease_s: float, clock: Callable[[], float], *, first_number: int = 0) -> None:
        self._slots = slots
        self._first_number = first_number
        self._lease_s = lease_s
        self._clock = clock
        self._by_token: dict[int, Session] = {}
        self._by_nonce: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_token.values()))

    def open(self, nonce: int, routing: bytes, environments: int, first_environment: int, key: str = "") -> Session:
        """The session for a HELLO: the one it already opened, else a new one.

        Args:
          first_environment: the run-wide number of the actor's first environment; -1 takes the lowest that is
            free, so that numbers stay dense whoever comes and goes.
          key: whose key the HELLO came under.

        Raises:
          ProtocolError: LIMIT for no environments, BUSY where too few slots are free.
        """
        known = self._by_nonce.get(nonce)
        if known is not None and known.key == key:
            known.routing, known.seen = routing, self._clock()
            return known
        if environments < 1:
            raise ProtocolError(ErrorCode.LIMIT, f"an actor needs 1 environment or more, not {environments}")
        if not -1 <= first_environment <= MAX_ENVIRONMENT - environments:
            raise ProtocolError(
                ErrorCode.LIMIT, f"environments are numbered 0 to {MAX_ENVIRONMENT}, not from {first_environment}"
            )
        if environments > self._slots.free:
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{environments} environments do not fit: {self._slots.used} of {self._slots.capacity} slots are "
                "taken; raise server.max_environments, or try again when an actor has left",
            )
        first = first_environment
        if first < 0:
            first = self._slots.free_numbers(environments, self._first_number)
        seats = self._slots.take(environments, first)
        session = Session(secrets.randbits(64), nonce, routing, seats, first, self._clock(), key)
        self._by_token[session.token] = self._by_nonce[nonce] = session
        return session

    def find(self, token: int) -> Session | None:
        """The session that `token` names, if it lives."""
        return self._by_token.get(token)

    def touch(self, session: Session, routing: bytes | None = None) -> None:
        """A sign of life: the lease begins anew, and replies go to `routing` where given."""
        session.seen = self._clock()
        if routing is not None:
            session.routing = routing

    def admit(self, session: Session, sequence: int) -> Admission:
        """What to do with a STEP of `sequence`.

        Raises:
          ProtocolError: SEQUENCE for one that is neither the next nor the last.
        """
        if sequence == session.answered + 1:
            return _WAITING if session.waiting else _NEW
        if sequence == session.answered and sequence > 0:
            return _ANSWERED
        raise ProtocolError(
            ErrorCode.SEQUENCE, f"step {sequence} is out of order: the last one answered is {session.answered}"
        )

    def strike(self, session: Session) -> bool:
        """Count a malformed message. Whether it was one too many, so that the session should end."""
        session.strikes += 1
        return session.strikes >= STRIKES

    def close(self, session: Session) -> None:
        """Forget a session, so that nothing finds it any more; its slots are the caller's to free."""
        session.closed = True
        self._by_token.pop(session.token, None)
        if self._by_nonce.get(session.nonce) is session:  # the actor may have greeted again since
            del self._by_nonce[session.nonce]

    def expired(self) -> list[Session]:
        """The sessions whose lease has ended."""
        deadline = self._clock() - self._lease_s
        return [session for session in self._by_token.values() if session.seen < deadline]
