"""Histograms that cost the hot path one copy: values are kept first, and counted later, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class HistogramSnapshot(NamedTuple):
    """A histogram at one moment, as Prometheus counts.

    Attributes:
      bounds: upper bounds, ascending, without the infinite one.
      cumulative: values so far at or below each bound, and all of them last: one more than bounds.
      total: the sum of all values.
    """

    bounds: tuple[float, ...]
    cumulative: tuple[int, ...]
    total: float


class Histogram:
    """Values since the start, counted between bounds; and percentiles of the latest. For one thread.

    Args:
      bounds: upper bounds, ascending.
      recent: how many of the latest values `percentiles` looks at.
    """

    def __init__(self, bounds: Sequence[float], recent: int = 8192) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._ring = np.zeros(recent)
        self._seen = 0
        self._counted = 0
        self._total = 0.0

    def __len__(self) -> int:
        """Values so far."""
        return self._seen

    def observe(self, value: float) -> None:
        """Keep one value."""
        if self._seen - self._counted == len(self._ring):
            self._count()
        self._ring[self._seen % len(self._ring)] = value
        self._seen += 1

    def observe_all(self, values: np.ndarray) -> None:
        """Keep several values, `[n]`."""
        room = len(self._ring)
        for start in range(0, len(values), room):
            part = values[start : start + room]
            if self._seen + len(part) - self._counted > room:
                self._count()
            place = self._seen % room
            first = min(len(part), room - place)
            self._ring[place : place + first] = part[:first]
            self._ring[: len(part) - first] = part[first:]
            self._seen += len(part)

    def percentiles(self, *which: float) -> list[float]:
        """Percentiles (0 to 100) of the latest values; zeros before the first."""
        latest = self._ring[: min(self._seen, len(self._ring))]
        return [float(each) for each in np.percentile(latest, which)] if len(latest) else [0.0] * len(which)

    def snapshot(self) -> HistogramSnapshot:
        """How it stands."""
        self._count()
        cumulative = tuple(int(count) for count in np.cumsum(self._counts))
        return HistogramSnapshot(tuple(self._bounds.tolist()), cumulative, self._total)

    def _count(self) -> None:
        room = len(self._ring)
        places = np.arange(self._counted, self._seen) % room
        values = self._ring[places]
        # "le" of Prometheus: a value on a bound belongs below it.
        self._counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self._total += float(values.sum())
        self._counted = self._seen
