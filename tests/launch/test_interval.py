"""Student's t without SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from corral.launch.interval import confidence_interval, standard_error, student_t


@pytest.mark.parametrize(
    ("confidence", "freedom", "t"),
    [  # the tables of any textbook
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 4, 2.776),
        (0.95, 9, 2.262),
        (0.95, 30, 2.042),
        (0.95, 99, 1.984),
        (0.95, 1_000, 1.962),
        (0.95, 100_000, 1.960),
        (0.99, 1, 63.657),
        (0.99, 10, 3.169),
        (0.90, 5, 2.015),
        (0.50, 120, 0.677),
    ],
)
def test_student_t(confidence: float, freedom: int, t: float) -> None:
    assert student_t(confidence, freedom) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 8, 99, 1_000])
def test_student_t_agrees_with_scipy(freedom: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    for confidence in (0.5, 0.9, 0.95, 0.999):
        expected = stats.t.ppf((1 + confidence) / 2, freedom)
        assert student_t(confidence, freedom) == pytest.approx(expected, rel=1e-9)


def test_an_interval() -> None:
    sample = np.array([1.0, 2.0, 3.0, 4.0])
    assert standard_error(sample) == pytest.approx(math.sqrt(5 / 3) / 2)
    low, high = confidence_interval(sample) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(2.5)
    assert (high - low) / 2 == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    held = 0
    for sample in chance.normal(3.0, 2.0, (2_000, 5)):
        low, high = confidence_interval(sample) or (0.0, 0.0)
        held += low <= 3.0 <= high
    assert 0.93 < held / 2_000 < 0.97


def test_one_value_says_nothing_of_its_error() -> None:
    assert standard_error(np.array([1.0])) is None
    assert confidence_interval(np.array([1.0])) is None


def test_equal_values_leave_no_doubt() -> None:
    assert confidence_interval(np.full(10, 500.0)) == (500.0, 500.0)
