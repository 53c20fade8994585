"""The learner's pace, by a clock that the test turns."""

from __future__ import annotations

import pytest

from learner.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("share", "rest"), [(1.0, 0.0), (0.5, 2.0), (0.8, 0.5), (0.1, 18.0)])
def test_it_rests_until_work_was_its_share(share: float, rest: float) -> None:
    clock = Clock()
    pace = Pace(share, clock)
    assert pace.rest_s == 0
    clock.now += 2
    pace.worked(2)
    assert pace.rest_s == pytest.approx(rest)
    clock.now += rest / 2
    assert pace.rest_s == pytest.approx(rest / 2)
    clock.now += rest / 2 + 1e-6
    assert pace.rest_s == 0


def test_waiting_is_rest_but_cannot_be_saved_up() -> None:
    clock = Clock()
    pace = Pace(0.5, clock)
    for _ in range(10):
        clock.now += 60  # nothing to train on
        assert pace.rest_s == 0
        clock.now += 1
        pace.worked(1)
        assert pace.rest_s == pytest.approx(1)


def test_over_time_it_is_busy_for_its_share() -> None:
    clock = Clock()
    pace, busy = Pace(0.25, clock), 0.0
    for seconds in (0.1, 3.0, 0.02, 0.5) * 5:
        clock.now += pace.rest_s
        clock.now += seconds
        busy += seconds
        pace.worked(seconds)
    assert busy / (clock.now + pace.rest_s - 100) == pytest.approx(0.25)
