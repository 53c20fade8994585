"""Noticing an environment that does not come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

PERIOD_S = 0.25
"""Seconds between two looks."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Watchdog:
    """Watches the calls of one thread from another one, for as long as the block lasts.

    Args:
      limit_s: how many seconds a call may take; asked at every look.
      on_hang: told once of a call that takes longer, on the watching thread: the seconds it has taken so far. The
        call itself goes on, for nobody can end it but with its process.
      clock: seconds, monotonic.
    """

    def __init__(
        self,
        limit_s: Callable[[], float],
        on_hang: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._clock = clock
        self._since: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def call(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """What `function` returns."""
        self._since = self._clock()
        try:
            return function(*args, **kwargs)
        finally:
            self._since = None

    def _watch(self) -> None:
        told: float | None = None
        while not self._ended.wait(PERIOD_S):
            since = self._since
            if since is None or since == told:
                continue
            taken = self._clock() - since
            if taken > self._limit_s():
                told = since
                self._on_hang(taken)
