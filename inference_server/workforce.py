"""What actors tell of their own time, with every sign of life: all of them together, and each in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from corral.protocol import ErrorCode, ProtocolError, Work
from corral.protocol.limits import MAX_COUNT, MAX_LISTED
from inference_server.sessions import Session

_NONE = Work(0.0, 0.0, 0, 0)
_MOST_S = 1e9
"""More seconds than any session lasts: what is summed up stays a number."""


class Workforce:
    """Sums over all sessions, those that have ended included. Belongs to the serving thread.

    Args:
      clock: seconds, monotonic.

    Attributes:
      environment_s: seconds that actors spent in their environments.
      wait_s: seconds that actors spent waiting for answers.
      requests: STEPs that were answered meanwhile, as the actors saw it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.environment_s = 0.0
        self.wait_s = 0.0
        self.requests = 0

    def hear(self, session: Session, work: Work) -> None:
        """An actor tells what its session has come to. Raises `ProtocolError` (MALFORMED) for what cannot be."""
        seconds, counts = (work.environment_s, work.wait_s), (work.requests, work.steps)
        if not all(math.isfinite(each) and 0 <= each <= _MOST_S for each in seconds):
            raise ProtocolError(ErrorCode.MALFORMED, "an actor's seconds must be from 0 on")
        if not all(0 <= each <= MAX_COUNT for each in counts):
            raise ProtocolError(ErrorCode.MALFORMED, "an actor's counts must be from 0 on")
        _, before = session.told[1] if session.told else (session.seen, _NONE)
        now = self._clock()
        self.environment_s += max(work.environment_s - before.environment_s, 0.0)
        self.wait_s += max(work.wait_s - before.wait_s, 0.0)
        self.requests += max(work.requests - before.requests, 0)
        session.told = (session.told[1] if session.told else (now, work), (now, work))

    def table(self, sessions: Iterable[Session], limit: int) -> list[dict[str, Any]]:
        """Sessions by the number of their first environment, `limit` at most; names as in docs/protocol.md."""
        chosen = sorted(sessions, key=lambda session: session.first_environment)[: max(0, min(limit, MAX_LISTED))]
        now = self._clock()
        return [_row(session, now) for session in chosen]


def _row(session: Session, now: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "host": session.host,
        "first_environment": session.first_environment,
        "environments": len(session.slots),
        "seen_s": max(now - session.seen, 0.0),
    }
    if session.told is not None:
        (began, before), (ended, work) = session.told
        whole = began == ended  # its first word: all that there is
        environment_s = work.environment_s - (0.0 if whole else before.environment_s)
        wait_s = work.wait_s - (0.0 if whole else before.wait_s)
        seconds = environment_s + wait_s
        if seconds > 0:
            # A session tells less than all its time where its actor has others; words that come late come at once.
            passed_s = max(ended - began, seconds)
            row["steps_per_s"] = (work.steps - (0 if whole else before.steps)) / passed_s
            row["wait_share"] = min(max(wait_s / seconds, 0.0), 1.0)
            row["environment_share"] = 1.0 - row["wait_share"]
    return row
