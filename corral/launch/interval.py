"""The mean of a sample and how well it is known: Student's t, in numpy alone."""

from __future__ import annotations

import math

import numpy as np


def confidence_interval(sample: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval around the mean of independent values `[n]`; None for less than two of them."""
    error = standard_error(sample)
    if error is None:
        return None
    reach = student_t(confidence, len(sample) - 1) * error
    mean = float(np.mean(sample))
    return mean - reach, mean + reach


def standard_error(sample: np.ndarray) -> float | None:
    """The standard error of the mean of independent values `[n]`; None for less than two of them."""
    return None if len(sample) < 2 else float(np.std(sample, ddof=1)) / math.sqrt(len(sample))


def student_t(confidence: float, freedom: int) -> float:
    """How many standard errors hold `confidence` of Student's distribution with `freedom` degrees of freedom.

    Halves an interval around the angle whose share is `confidence`, by the finite series of Abramowitz and Stegun
    (26.7.3, 26.7.4), which is exact.

    Args:
      confidence: between 0 and 1: 0.95 asks for t with P(-t < T < t) = 0.95.
      freedom: 1 or more.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        angle = (low + high) / 2
        if _share(angle, freedom) < confidence:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(low)


def _share(angle: float, freedom: int) -> float:
    """P(-t < T < t) for t = sqrt(freedom) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom == 1:
        return 2 * angle / math.pi
    odd = freedom % 2
    k = np.arange(1, (freedom - 2 - odd) // 2 + 1)
    # What each term of the series is of the one before.
    ratios = (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k)) * cosine**2
    series = 1.0 + float(np.sum(np.cumprod(ratios)))
    return 2 / math.pi * (angle + sine * cosine * series) if odd else sine * series
