from __future__ import annotations

from typing import Literal

import pytest

from inference_server.batcher import Batcher, Reason
from inference_server.settings import BatchingSettings
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


def make(clock: Clock, timeout_us: int | Literal["auto"], max_size: int = 8) -> Batcher:
    return Batcher(BatchingSettings(timeout_us=timeout_us, max_size=max_size), clock)


def test_nothing_waits(clock: Clock) -> None:
    batcher = make(clock, 0)
    assert batcher.reason(live=0) is None
    assert batcher.wait_s() is None


def test_without_a_timeout_it_leaves_whenever_the_engine_is_free(clock: Clock) -> None:
    batcher = make(clock, 0)
    batcher.add(1)
    assert batcher.reason(live=4) is Reason.IDLE
    assert batcher.wait_s() == 0


def test_a_full_batch_leaves_at_once(clock: Clock) -> None:
    batcher = make(clock, 1000)
    batcher.add(5)
    assert batcher.reason(live=9) is None
    batcher.add(3)
    assert batcher.reason(live=9) is Reason.FULL


def test_the_timeout_counts_from_the_first_request(clock: Clock) -> None:
    batcher = make(clock, 1000)
    batcher.add(1)
    clock.now += 0.0006
    batcher.add(1)
    assert batcher.reason(live=9) is None
    assert batcher.wait_s() == pytest.approx(0.0004)
    clock.now += 0.0004
    assert batcher.reason(live=9) is Reason.TIMEOUT


def test_nobody_is_waited_for_who_cannot_come(clock: Clock) -> None:
    batcher = make(clock, 1000)
    batcher.add(2)
    assert batcher.reason(live=2) is None
    batcher.add(2)
    assert batcher.reason(live=2) is Reason.ALL_LIVE


def test_what_stays_behind_keeps_its_age(clock: Clock) -> None:
    batcher = make(clock, 1000)
    batcher.add(8)
    clock.now += 0.0004
    batcher.add(2)
    batcher.take(rows=8, requests=1, oldest=clock.now)
    assert (batcher.rows, batcher.requests) == (2, 1)
    assert batcher.reason(live=9) is None
    clock.now += 0.001
    assert batcher.reason(live=9) is Reason.TIMEOUT
    batcher.take(rows=2, requests=1, oldest=None)
    assert batcher.reason(live=9) is None


def test_new_settings_count_for_what_waits_already(clock: Clock) -> None:
    batcher = make(clock, 1000)
    batcher.add(2)
    clock.now += 0.0005
    assert batcher.reason(live=9) is None
    batcher.configure(BatchingSettings(timeout_us=500, max_size=8))
    assert batcher.reason(live=9) is Reason.TIMEOUT
    batcher.configure(BatchingSettings(timeout_us=2000, max_size=2))
    assert batcher.reason(live=9) is Reason.FULL


def serve(batcher: Batcher, clock: Clock, seconds: float) -> set[int]:
    """Two actors whose rows come 0.1 ms apart, a model of 4 ms a call; the timeouts that stood."""
    stood = set()
    end = clock.now + seconds
    while clock.now < end:
        batcher.add(1)
        while not batcher.reason(live=0) and batcher.rows < 2:
            clock.now += 0.0001
            batcher.add(1)
        rows = batcher.rows
        batcher.take(rows, rows, None)
        clock.now += 0.004
        batcher.computed(rows, 0.004)
        stood.add(batcher.timeout_us)
    return stood


def test_a_timeout_that_is_learned_begins_with_none(clock: Clock) -> None:
    batcher = make(clock, "auto")
    assert batcher.timeout_us == 0
    batcher.add(1)
    assert batcher.reason(live=4) is Reason.IDLE


def test_a_timeout_is_learned_from_what_was_computed(clock: Clock) -> None:
    batcher = make(clock, "auto")
    assert len(serve(batcher, clock, 2)) > 1
    serve(batcher, clock, 5)
    learned = batcher.timeout_us
    assert learned > 0
    batcher.configure(BatchingSettings(timeout_us="auto", max_size=4))
    assert batcher.timeout_us == learned, "other settings are no reason to begin again"
    batcher.add(1)
    assert batcher.reason(live=0) is None
    assert batcher.wait_s() == pytest.approx(learned * 1e-6)


def test_a_timeout_that_is_given_is_not_learned(clock: Clock) -> None:
    batcher = make(clock, 300)
    assert serve(batcher, clock, 2) == {300}
    batcher.configure(BatchingSettings(timeout_us="auto", max_size=8))
    serve(batcher, clock, 5)
    batcher.configure(BatchingSettings(timeout_us=0, max_size=8))
    assert batcher.timeout_us == 0
    assert serve(batcher, clock, 2) == {0}
