"""The board on which a process shows its figures, for whoever comes by."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from corral.telemetry.histogram import HistogramSnapshot

Value: TypeAlias = float | HistogramSnapshot
Samples: TypeAlias = Mapping[str, Value | Mapping[str, Value]]
"""Name of a metric -> its value, or the value of its label -> that label's. Names as in `catalogue`."""


class Board:
    """The latest figures and the latest sign of life. One thread writes, any reads.

    The loop that does the work calls `show` itself, a few times a second. So a loop that hangs, in a model or
    anywhere else, gives no sign of life, and the process turns unready by that alone.

    Args:
      stuck_after_s: silence of the loop after which the process counts as stuck.
      clock: seconds, monotonic.

    Attributes:
      policy_version: of the newest actions, on an actor's board; None before any.
    """

    def __init__(self, stuck_after_s: float = 3.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self.policy_version: int | None = None
        self._samples: Samples = {}
        self._seen: float | None = None
        self._reason = "it has not begun to work yet"

    def show(self, samples: Samples, *, not_ready: str = "") -> None:
        """Show these figures from now on.

        Args:
          not_ready: why the process cannot do its work now; empty where it can.
        """
        self._samples, self._reason, self._seen = samples, not_ready, self._clock()

    @property
    def samples(self) -> Samples:
        """The latest figures."""
        return self._samples

    def not_ready(self) -> str:
        """Why the process cannot do its work now; empty where it can."""
        if self._reason or self._seen is None:
            return self._reason
        silent = self._clock() - self._seen
        return f"its loop has given no sign of life for {silent:.1f} s" if silent > self._stuck_after_s else ""
