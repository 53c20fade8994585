"""How a process of Corral is asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

_PATIENCE_S = 0.02
"""Seconds between two looks at whether somebody asked."""


class AskedToStopError(Exception):
    """Somebody asked, in the middle of something long."""


class StopRequest:
    """SIGTERM, SIGINT and a lost launcher ask once, politely; a second signal ends the process at once.

    Attributes:
      exit_code: what a process that was asked to stop, and did, exits with: 130 after SIGINT, else 0.
    """

    def __init__(self, last_act: Callable[[], None] = lambda: None) -> None:
        """`last_act` runs before the process ends without unwinding; it must not block."""
        # No threading.Event: its lock may be held by the very code that a signal handler interrupts.
        self._asked = False
        self._action: Callable[[], None] | None = None
        self._last_act = last_act
        self.exit_code = 0

    def install(self) -> None:
        """Take over SIGTERM and SIGINT. Call it before slow imports, so that no signal comes too early."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked

    def check(self) -> None:
        """Raise `AskedToStopError` if somebody asked."""
        if self._asked:
            raise AskedToStopError

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody asks, at most so long; whether somebody asked."""
        until = time.monotonic() + seconds
        while not self._asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _PATIENCE_S))
        return self._asked

    def call(self, action: Callable[[], None]) -> None:
        """From now on `action` is what stops this process: thread- and signal-safe, not blocking.

        Until then there is nothing to unwind, and a request ends the process at once.
        """
        self._action = action
        if self.asked:
            action()

    def ask(self) -> None:
        """Ask politely; asking again changes nothing. Safe in any thread."""
        if self.asked:
            return
        self._asked = True
        if self._action is None:
            self.end_now(self.exit_code)
        else:
            self._action()

    def end_now(self, code: int) -> None:
        """End the process without unwinding."""
        self._last_act()
        os._exit(code)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.end_now(128 + number)
        if number == signal.SIGINT:
            self.exit_code = 130
        self.ask()
