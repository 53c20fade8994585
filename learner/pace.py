"""How much of a device's time a learner takes. Pure: a clock goes in, a rest comes out."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """Keeps work to a share of the time: after work of d seconds nothing more is begun for d (1 / share - 1).

    Time spent waiting counts as rest, but cannot be saved up.

    Args:
      share: more than 0, up to 1, which never rests.
      clock: seconds, monotonic.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self._rest_per_s = 1.0 / share - 1.0
        self._clock = clock
        self._until = clock()

    def worked(self, seconds: float) -> None:
        """Work of so many seconds has ended just now."""
        self._until = self._clock() + seconds * self._rest_per_s

    @property
    def rest_s(self) -> float:
        """Seconds until work may begin; 0 where it may now."""
        return max(0.0, self._until - self._clock())
