"""When the rows that wait become a batch. Pure: a clock goes in, decisions come out, no I/O."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from inference_server.patience import Patience
from inference_server.settings import BatchingSettings


class Reason(StrEnum):
    """Why a batch left."""

    FULL = "full"  # no more rows fit
    ALL_LIVE = "all_live"  # everyone who could send waits: nothing more can come
    TIMEOUT = "timeout"  # the oldest request has waited long enough
    IDLE = "idle"  # the engine is free, and waiting has not been asked for


class Batcher:
    """Decides when waiting rows leave as one batch.

    Ask `reason()` only when the engine is free and the socket has been drained: a batch that leaves
    earlier than it must is padded work.

    Args:
      settings: `timeout_us` and `max_size`; `configure` changes them.
      clock: seconds, monotonic.

    Attributes:
      timeout_us: how long the oldest request waits now, in microseconds, given or chosen.
    """

    def __init__(self, settings: BatchingSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._patience: Patience | None = None
        self.configure(settings)
        self._oldest: float | None = None
        self.rows = 0
        self.requests = 0

    def configure(self, settings: BatchingSettings) -> None:
        """Decide by these settings from now on."""
        self.max_size = settings.max_size
        if settings.timeout_us != "auto":
            self._patience = None
            self._wait(settings.timeout_us)
        elif self._patience is None:
            self._patience = Patience(self._clock())
            self._wait(self._patience.timeout_us)

    def _wait(self, timeout_us: int) -> None:
        self.timeout_us = timeout_us
        self.timeout_s = timeout_us * 1e-6

    def add(self, rows: int) -> None:
        """`rows` rows of one request have arrived now."""
        if self._patience is not None:
            now = self._clock()
            self._patience.arrived(now)
            if self._oldest is None:
                self._oldest = now
        elif self._oldest is None:
            self._oldest = self._clock()
        self.rows += rows
        self.requests += 1

    def reason(self, live: int) -> Reason | None:
        """Why the waiting rows should leave now, or None to wait on.

        Args:
          live: how many peers could have a request waiting; 0 where nobody knows.
        """
        if self._oldest is None:
            return None
        if self.rows >= self.max_size:
            return Reason.FULL
        if self.requests >= live > 0:
            return Reason.ALL_LIVE
        if self.timeout_s == 0:
            return Reason.IDLE
        return Reason.TIMEOUT if self._clock() - self._oldest >= self.timeout_s else None

    def wait_s(self) -> float | None:
        """Seconds until the timeout of the oldest request; None while nothing waits."""
        if self._oldest is None:
            return None
        return max(0.0, self._oldest + self.timeout_s - self._clock())

    def take(self, rows: int, requests: int, oldest: float | None) -> None:
        """A batch of `rows` rows has left; `oldest` is the arrival of the oldest request that still waits."""
        self.rows -= rows
        self.requests -= requests
        self._oldest = oldest

    def computed(self, rows: int, seconds: float) -> None:
        """A batch of `rows` rows kept the engine busy for `seconds`, until now: "auto" learns from it."""
        if self._patience is not None:
            self._patience.computed(rows, seconds, self._clock())
            if self._patience.timeout_us != self.timeout_us:
                self._wait(self._patience.timeout_us)
