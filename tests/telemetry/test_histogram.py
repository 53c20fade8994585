from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.telemetry import Histogram


def test_values_are_counted_at_or_below_their_bound() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    histogram.observe_all(np.array([0.5, 1.0, 1.5, 5.0, 7.0]))
    histogram.observe(2.0)
    assert histogram.snapshot() == ((1.0, 2.0, 5.0), (2, 4, 5, 6), 17.0)
    assert len(histogram) == 6


def test_nothing_seen_yet() -> None:
    histogram = Histogram((1.0,))
    assert histogram.snapshot() == ((1.0,), (0, 0), 0.0)
    assert histogram.percentiles(50, 99) == [0.0, 0.0]


def test_percentiles_are_of_the_latest() -> None:
    histogram = Histogram((1.0,), recent=4)
    histogram.observe_all(np.array([100.0, 100.0, 1.0, 2.0, 3.0, 4.0]))
    assert histogram.percentiles(0, 50, 100) == [1.0, 2.5, 4.0]


@given(
    parts=st.lists(st.lists(st.floats(0, 10, width=32), max_size=20), max_size=12),
    looks=st.sets(st.integers(0, 11)),
    recent=st.integers(1, 9),
)
def test_as_one_that_counts_at_once(parts: list[list[float]], looks: set[int], recent: int) -> None:
    bounds = (0.0, 1.0, 2.5, 7.0)
    histogram = Histogram(bounds, recent)
    for number, part in enumerate(parts):
        if number % 2:
            histogram.observe_all(np.array(part))
        else:
            for value in part:
                histogram.observe(value)
        if number in looks:
            histogram.snapshot()
    values = [value for part in parts for value in part]
    found = histogram.snapshot()
    assert found.cumulative == (*(sum(value <= bound for value in values) for bound in bounds), len(values))
    assert found.total == pytest.approx(sum(values))
    if values:
        assert histogram.percentiles(0, 100) == [min(values[-recent:]), max(values[-recent:])]
