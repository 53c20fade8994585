"""Throughput of closed loops, beside what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from corral.bench.closed_loop import Curve, closed_loop


def test_two_actors_at_a_server_of_one_rate_by_hand() -> None:
    # Think 1 s, serve 1 s: 0, 1 or 2 at the server in the proportion 1 : 2 : 2, so it is busy 4/5 of the time.
    flow = closed_loop(2, 1.0, Curve([(1, 1.0)]))
    assert flow.answers_per_s == pytest.approx(0.8)
    assert flow.wait_s == pytest.approx(1.5)  # 2 actors / 0.8 - 1 s
    assert flow.busy == pytest.approx(0.8)


def test_a_server_with_room_for_all_makes_nobody_wait_for_others() -> None:
    # Twice as many requests, twice the answers: each takes 0.25 s whatever the others do.
    flow = closed_loop(12, 0.75, Curve([(1, 4.0), (12, 48.0)]))
    assert flow.answers_per_s == pytest.approx(12.0)
    assert flow.wait_s == pytest.approx(0.25)


@pytest.mark.parametrize("actors", [1, 50, 1_000, 100_000])
def test_neither_bound_is_ever_crossed(actors: int) -> None:
    curve = Curve([(1, 1_000.0), (4, 3_000.0), (64, 9_000.0)])
    flow = closed_loop(actors, 0.05, curve)
    assert flow.answers_per_s <= min(9_000.0, actors / 0.051) * (1 + 1e-9)
    assert flow.wait_s >= 0.001 - 1e-9
    assert flow.busy == pytest.approx(flow.answers_per_s / 9_000)


def test_far_more_actors_than_it_can_serve_get_its_highest_rate() -> None:
    flow = closed_loop(100_000, 1.0, Curve([(1, 1_000.0), (64, 9_000.0)]))
    assert flow.answers_per_s == pytest.approx(9_000.0, rel=1e-6)
    assert flow.wait_s == pytest.approx(100_000 / 9_000 - 1, rel=1e-6)


def test_without_thinking_it_is_what_was_measured() -> None:
    curve = Curve([(64, 9_000.0), (1, 1_000.0)])
    assert closed_loop(64, 0.0, curve).answers_per_s == 9_000.0
    assert closed_loop(1, 0.0, curve).wait_s == pytest.approx(1e-3)


def test_rates_between_measurements_lie_on_a_line_and_beyond_them_stay() -> None:
    assert np.allclose(Curve([(2, 10.0), (4, 30.0)]).rates(6), [5.0, 10.0, 20.0, 30.0, 30.0, 30.0])


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(1, 0.0)], [(1, float("nan"))]])
def test_a_curve_of_nothing_is_refused(points: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="a curve needs measured rates above 0"):
        Curve(points)


@pytest.mark.parametrize(("actors", "think_s"), [(0, 1.0), (1, -1.0)])
def test_a_loop_of_nobody_is_refused(actors: int, think_s: float) -> None:
    with pytest.raises(ValueError, match="a closed loop needs actors"):
        closed_loop(actors, think_s, Curve([(1, 1.0)]))
