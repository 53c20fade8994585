from __future__ import annotations

import numpy as np
import pytest

from inference_server.delays import Delays
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def delays(clock: Clock) -> Delays:
    return Delays(clock)


def leave(delays: Delays, arrived: list[float], began: float, now: float, *, gathers: bool) -> None:
    """A batch has been computed, as the server tells it."""
    count = len(arrived)
    moments = np.repeat([delays.moment], count, axis=0)
    times = (np.full(count, began), np.full(count, now))
    delays.left(np.array(arrived), *times, moments, np.full(count, gathers))
    delays.engine_is_free(now)


def test_what_waits_for_company_while_the_engine_is_free_gathers(delays: Delays) -> None:
    # Two requests, 5 and 2 ms before their batch begins, which takes 10 ms; the engine was free all the time.
    leave(delays, [100.0, 100.003], 100.005, 100.015, gathers=True)
    assert delays.requests == 2
    assert delays.gather_s == pytest.approx(0.005 + 0.002)
    assert delays.engine_s == pytest.approx(2 * 0.010)


def test_what_waits_for_the_batch_before_waits_for_the_engine(delays: Delays) -> None:
    leave(delays, [100.0], 100.0, 100.010, gathers=True)
    # Came 4 ms before that one was done; another millisecond passes until its own begins.
    leave(delays, [100.006], 100.011, 100.021, gathers=True)
    assert delays.gather_s == pytest.approx(0.001)
    assert delays.engine_s == pytest.approx(0.010 + 0.004 + 0.010)


def test_where_nobody_waits_for_company_all_of_it_is_the_engine_s(delays: Delays) -> None:
    leave(delays, [100.0], 100.005, 100.015, gathers=False)
    assert (delays.gather_s, delays.engine_s) == (0, pytest.approx(0.015))


def test_batches_of_others_keep_the_engine_busy_too(delays: Delays) -> None:
    delays.engine_is_free(100.004)  # a batch of INFER is done
    leave(delays, [100.0], 100.005, 100.006, gathers=True)
    assert delays.gather_s == pytest.approx(0.001)
    assert delays.engine_s == pytest.approx(0.004 + 0.001)


def test_a_message_has_waited_unread_for_half_the_time_since_the_socket_was_empty(delays: Delays) -> None:
    delays.socket_is_empty()
    delays.reads(100.010, 3)
    assert delays.engine_s == pytest.approx(3 * 0.005)


def test_what_a_learner_holds_up(delays: Delays, clock: Clock) -> None:
    clock.now = 101.0
    delays.blocked(True)
    clock.now = 103.0
    assert delays.learner_s(waiting=2) == pytest.approx(2 * 2.0)  # they go on waiting
    delays.blocked(True)
    delays.blocked(False)
    # One came before that and one in the midst of it.
    leave(delays, [100.5, 102.0], 103.0, 103.1, gathers=False)
    assert delays.learner_s(waiting=0) == pytest.approx(2.0 + 1.0)
    assert delays.engine_s == pytest.approx((103.1 - 100.5 - 2.0) + (103.1 - 102.0 - 1.0))
    # What comes later has nothing to do with it.
    leave(delays, [104.0], 104.5, 105.0, gathers=False)
    assert delays.learner_s(waiting=0) == pytest.approx(3.0)
