"""Intervals that hold what is asked for with 95 % confidence, for figures over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959964
"""Of the normal distribution: 95 % lie within so many deviations."""
_DRAWS = 10_000


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Of a probability, from so many successes in so many trials (Wilson 1927, the score interval)."""
    if not trials:
        return 0.0, 1.0
    share, spread = successes / trials, _Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Of a median, from independent values, by the percentile bootstrap (Efron 1979); None for fewer than five,
    which say too little."""
    if len(values) < 5:
        return None
    chosen = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.percentile(np.median(np.asarray(values, float)[chosen], axis=1), [2.5, 97.5])
    return float(low), float(high)
