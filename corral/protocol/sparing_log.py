"""Log lines that a peer can cause: a few at once, then one a second, so that nobody fills a disk from outside."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

BURST = 20
"""Lines that may come at once."""
EVERY_S = 1.0
"""Seconds until there may be one more."""


class SparingLog:
    """Says a line while there is one left, and counts the others: the next line tells how many were left out.

    Args:
      log: where lines go.
      clock: seconds, monotonic.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._left: float = BURST
        self._filled_at = clock()
        self._unsaid = 0

    def say(self, level: int, text: str, *values: object) -> None:
        """`log.log(level, text, *values)`, or nothing."""
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._filled_at) / EVERY_S)
        self._filled_at = now
        if self._left < 1:
            self._unsaid += 1
            return
        self._left -= 1
        if self._unsaid:
            text, values = f"{text} (%d lines like this were left out)", (*values, self._unsaid)
            self._unsaid = 0
        self._log.log(level, text, *values)
