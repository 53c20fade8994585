"""Bounded curves, against rows worked out by hand."""

from __future__ import annotations

from corral.dashboard.history import Rate, Recent, Spread, Thinned


def test_recent_rows_count_from_now_and_fall_out_of_the_window() -> None:
    recent = Recent(2, window_s=10)
    for second in range(15):
        recent.add(100.0 + second, [second, None])
    recent.add(115.0, None)
    rows = recent.rows(115.0)
    assert rows[0] == (-10.0, 5, None)
    assert rows[-2:] == [(-1.0, 14, None), (0.0, None, None)]
    assert len(rows) == 11


def test_recent_rows_are_bounded_whatever_the_clock_does() -> None:
    recent = Recent(1, window_s=10, most=50)
    for _ in range(1_000):
        recent.add(1.0, [2.0])
    assert len(recent.rows(1.0)) == 50


def test_a_whole_curve_is_thinned_and_keeps_its_ends_in_sight() -> None:
    curve = Thinned(most=8)
    for x in range(1_000):
        curve.add(float(x), [2.0 * x])
    rows = curve.rows()
    assert 4 <= len(rows) <= 9
    assert rows[0] == (0.0, 0.0)
    assert rows[-1] == (999.0, 1_998.0)
    assert all(y == 2 * x for x, y in rows if x is not None and y is not None)
    assert [x for x, _ in rows[:-1]] == [256.0 * index for index in range(4)]


def test_a_curve_that_goes_back_forgets_what_it_had_ahead() -> None:
    curve = Thinned()
    for x in (1.0, 2.0, 3.0, 4.0):
        curve.add(x, [x])
    curve.add(2.0, [20.0])
    assert curve.rows() == [(1.0, 1.0), (2.0, 20.0)]


def test_a_rate_is_unknown_where_a_counter_began_anew_or_was_not_read() -> None:
    rate = Rate()
    assert rate.of(0.0, 100) is None
    assert rate.of(2.0, 140) == 20.0
    assert rate.of(3.0, 10) is None
    assert rate.of(4.0, 15) == 5.0
    assert rate.of(5.0, None) is None
    assert rate.of(6.0, 100) is None


def test_what_is_read_too_soon_has_the_rate_of_before() -> None:
    rate = Rate(least_s=0.5)
    assert [rate.of(0.0, 0), rate.of(1.0, 100)] == [None, 100.0]
    assert rate.of(1.01, 100) == 100.0
    assert rate.of(2.0, 150) == 50.0  # since 1.0
    assert rate.of(2.01, 3) is None  # another process


def test_a_spread_is_of_the_last_seconds_alone() -> None:
    spread = Spread(window_s=10)
    spread.add(0.0, [[1, 1_000], [2, 0], [4, 0], [8, 0], [16, 0]])
    assert spread.shares() == []
    spread.add(5.0, [[1, 1_000], [2, 3], [4, 0], [8, 1], [16, 0]])
    assert spread.shares() == [(2.0, 75.0), (4.0, 0.0), (8.0, 25.0)]
    spread.add(15.0, [[1, 1_000], [2, 3], [4, 6], [8, 1], [16, 0]])
    assert spread.shares() == [(4.0, 100.0)]


def test_a_spread_begins_anew_with_a_server_that_does() -> None:
    spread = Spread()
    spread.add(0.0, [[1, 50], [2, 50]])
    spread.add(1.0, [[1, 60], [2, 50]])
    spread.add(2.0, [[1, 1], [2, 3]])
    assert spread.shares() == []
    spread.add(3.0, [[1, 2], [2, 6]])
    assert spread.shares() == [(1.0, 25.0), (2.0, 75.0)]
    spread.add(4.0, None)
    assert spread.shares() == []
