"""Where an actor's time goes: into its environments, or into waiting for the server."""

from __future__ import annotations

import time
from collections.abc import Callable

from corral.telemetry import Board

SHOW_EVERY_S = 0.25


class Timesheet:
    """Two stretches of time that take turns. Belongs to one thread.

    Args:
      board: where to show the sums; None shows them to nobody.
      clock: seconds, monotonic.
    """

    def __init__(self, board: Board | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._clock = clock
        self._since = clock()
        self._show_at = 0.0
        self._has_session = False
        self.environment_s = 0.0
        self.wait_s = 0.0
        self.steps = 0
        self.rejoins = 0

    def session(self, has_one: bool) -> None:
        """A session has begun, or ended."""
        self.rejoins += has_one and self.steps > 0
        self._has_session = has_one
        self._show_at = 0.0
        self._show(self._clock())

    def asks(self) -> None:
        """The environments are done: from here on the actor waits."""
        now = self._clock()
        self.environment_s += now - self._since
        self._since = now
        self._show(now)

    def acts(self, environments: int) -> None:
        """The answer is here: from here on the environments work."""
        now = self._clock()
        self.wait_s += now - self._since
        self._since = now
        self.steps += environments

    def _show(self, now: float) -> None:
        if self._board is None or now < self._show_at:
            return
        self._show_at = now + SHOW_EVERY_S
        samples = {
            "actor_steps_total": self.steps,
            "actor_environment_seconds_total": self.environment_s,
            "actor_wait_seconds_total": self.wait_s,
            "actor_rejoins_total": self.rejoins,
        }
        self._board.show(samples, not_ready="" if self._has_session else "no session with a server")
