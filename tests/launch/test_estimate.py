from __future__ import annotations

import pytest

from corral.launch.estimate import Estimate, in_words
from tests.support.clock import Clock


def test_what_is_left_takes_as_long_as_what_is_done() -> None:
    clock = Clock(50.0)
    estimate = Estimate(clock)
    assert estimate.left_s is None
    estimate.at(0, 10)
    clock.now += 6
    assert estimate.left_s is None  # no piece is done yet
    estimate.at(2, 10)
    assert estimate.left_s == pytest.approx(24)  # 3 s a piece, 8 pieces
    clock.now += 4
    assert estimate.left_s == pytest.approx(20)  # it counts down between two pieces
    estimate.at(4, 10)
    assert estimate.left_s == pytest.approx(15)  # 10 s for 4 pieces, 6 pieces
    clock.now += 100
    assert estimate.left_s == 0


def test_what_was_done_before_counts_for_nothing() -> None:
    clock = Clock(50.0)
    estimate = Estimate(clock)
    estimate.at(90, 100)
    clock.now += 10
    estimate.at(95, 100)
    assert estimate.left_s == pytest.approx(10)


def test_another_piece_of_work_begins_anew() -> None:
    clock = Clock(50.0)
    estimate = Estimate(clock)
    estimate.at(0, 10)
    clock.now += 10
    estimate.at(10, 10)
    assert estimate.left_s == 0
    estimate.at(0, 4)
    assert estimate.left_s is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")],
)
def test_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words
