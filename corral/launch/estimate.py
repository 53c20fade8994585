"""How long something will still take, judged by how long it took so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Say(Protocol):
    """Takes what is going on and, where that is known, how far it is."""

    def __call__(self, text: str, done: float = 0, total: float = 0) -> object:
        """`done` of `total` is done; a total of 0 says that nobody knows."""
        ...


def say_nothing(text: str, done: float = 0, total: float = 0) -> None:
    """For whoever does not want to know."""


class Estimate:
    """Seconds left of work that comes in pieces of about the same size.

    Args:
      clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] = (0.0, 0.0)
        self._total = 0.0

    def at(self, done: float, total: float) -> None:
        """`done` of `total` is done by now. Fewer than before begins anew."""
        if self._first is None or done < self._last[1] or total != self._total:
            self._first, self._total = (self._clock(), done), total
            self._last = self._first
        elif done > self._last[1]:
            self._last = (self._clock(), done)

    @property
    def left_s(self) -> float | None:
        """Seconds from now on; None before the first piece is done."""
        if self._first is None or self._last[1] <= self._first[1]:
            return None
        pace = (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])
        return max(0.0, self._last[0] + pace * (self._total - self._last[1]) - self._clock())


def in_words(seconds: float | None) -> str:
    """About how long: "12 s", "3 min", "2 h 5 min"; "" for None."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
