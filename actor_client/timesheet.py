"""Where an actor's time goes: into its environments, or into waiting for the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from corral.protocol import Work
from corral.telemetry import Board

SHOW_EVERY_S = 0.25


class _Sums(NamedTuple):
    """What has been counted until `since`, and what goes on from there."""

    environment_s: float
    wait_s: float
    requests: int
    steps: int
    since: float
    waiting: bool

    def at(self, now: float) -> _Sums:
        """The same, with what went on until `now` counted."""
        if self.waiting:
            return self._replace(wait_s=self.wait_s + now - self.since, since=now)
        return self._replace(environment_s=self.environment_s + now - self.since, since=now)


class Timesheet:
    """Two stretches of time that take turns. Belongs to one thread; any may ask for `work`.

    Args:
      board: where to show the sums; None shows them to nobody.
      clock: seconds, monotonic.
    """

    def __init__(self, board: Board | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._clock = clock
        self._show_at = 0.0
        self._has_session = False
        # Replaced whole, never changed: another thread sees one moment.
        self._sums = self._joined = _Sums(0.0, 0.0, 0, 0, clock(), False)
        self.rejoins = 0

    def session(self, has_one: bool) -> None:
        """A session has begun, or ended."""
        self.rejoins += has_one and self._sums.steps > 0
        self._has_session = has_one
        self._show_at = 0.0
        now = self._clock()
        self._joined = self._sums.at(now)
        self._show(now)

    def asks(self) -> None:
        """The environments are done: from here on the actor waits."""
        now = self._clock()
        self._sums = self._sums.at(now)._replace(waiting=True)
        self._show(now)

    def acts(self, environments: int) -> None:
        """The answer is here, where `environments` is more than 0: from here on the environments work."""
        sums = self._sums.at(self._clock())
        self._sums = sums._replace(
            waiting=False, requests=sums.requests + (environments > 0), steps=sums.steps + environments
        )

    def work(self) -> Work:
        """What has been done since the session began, until now."""
        sums, joined = self._sums.at(self._clock()), self._joined
        return Work(
            environment_s=max(sums.environment_s - joined.environment_s, 0.0),
            wait_s=max(sums.wait_s - joined.wait_s, 0.0),
            requests=sums.requests - joined.requests,
            steps=sums.steps - joined.steps,
        )

    def _show(self, now: float) -> None:
        if self._board is None or now < self._show_at:
            return
        self._show_at = now + SHOW_EVERY_S
        sums = self._sums
        samples = {
            "actor_steps_total": sums.steps,
            "actor_environment_seconds_total": sums.environment_s,
            "actor_wait_seconds_total": sums.wait_s,
            "actor_rejoins_total": self.rejoins,
        }
        self._board.show(samples, not_ready="" if self._has_session else "no session with a server")
