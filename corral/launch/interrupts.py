"""How a person, or a system that shuts down, interrupts a run."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_TWICE_S = 0.3
"""Seconds within which two signals are one."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP as requests to end, for as long as the block lasts. On the main thread.

    Attributes:
      number: the first signal that came; 0 before.
      hurried: whether a second one has come: end at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self.hurried = False
        self._came_at = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Takes no lock: what it interrupts may hold it (and so no threading.Event).
        # One Ctrl-C can arrive twice: from the terminal, and from whoever wraps this command.
        if self.number and time.monotonic() - self._came_at > _TWICE_S:
            self.hurried = True
        if not self.number:
            self.number, self._came_at = number, time.monotonic()
