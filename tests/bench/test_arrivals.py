"""When made-up clients ask, by an injected clock."""

from __future__ import annotations

import math

import pytest

from corral.bench.arrivals import ClosedLoop, OpenLoop


def everyone(arrivals: ClosedLoop | OpenLoop, now: float) -> list[tuple[int, float]]:
    found = []
    while (turn := arrivals.due(now)) is not None:
        found.append(turn)
    return found


def test_a_closed_loop_begins_at_once_and_asks_again_with_every_answer() -> None:
    loop = ClosedLoop(3, 0.0, seed=0)
    assert everyone(loop, 5.0) == [(0, 5.0), (1, 5.0), (2, 5.0)]
    assert loop.next_due() == math.inf
    assert loop.answered(1, 6.0) == 6.0


def test_a_client_that_thinks_asks_later() -> None:
    loop = ClosedLoop(1, 0.010, seed=0)
    everyone(loop, 1.0)
    assert loop.answered(0, 2.0) is None
    due = loop.next_due()
    assert 2.005 <= due <= 2.015
    assert loop.due(due - 1e-6) is None
    assert loop.due(due) == (0, due)


def test_thinking_too_long_is_not_the_server_s_latency() -> None:
    loop = ClosedLoop(1, 0.010, seed=0)
    everyone(loop, 1.0)
    loop.answered(0, 2.0)
    assert loop.due(3.0) == (0, 3.0)


def test_an_open_loop_asks_by_the_clock_whatever_is_answered() -> None:
    loop = OpenLoop(2000, rate=100.0, seed=0, start=0.0)
    asked = everyone(loop, 10.0)
    assert len(asked) == pytest.approx(1000, rel=0.15)
    assert [client for client, _ in asked] == list(range(len(asked)))
    moments = [due for _, due in asked]
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] <= 10.0


def test_a_request_that_finds_no_client_has_been_due_since_its_own_moment() -> None:
    loop = OpenLoop(1, rate=100.0, seed=0, start=0.0)
    (_, first), *others = everyone(loop, 1.0)
    assert others == []
    waiting = loop.overdue
    assert waiting > 50
    # The answer took until 1.0: the next request was due long before, and its latency counts from then.
    second = loop.answered(0, 1.0)
    assert second is not None
    assert first < second < 0.5
    assert loop.overdue == waiting - 1


def test_an_idle_client_waits_for_the_next_request() -> None:
    loop = OpenLoop(1, rate=10.0, seed=0, start=0.0)
    due = loop.next_due()
    everyone(loop, due)
    assert loop.answered(0, due + 1e-6) is None
    assert loop.next_due() > due
