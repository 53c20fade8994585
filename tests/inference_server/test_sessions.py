from __future__ import annotations

import numpy as np
import pytest

from corral.protocol import ErrorCode, ProtocolError
from inference_server.sessions import Admission, Sessions
from inference_server.slots import Slots
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def slots() -> Slots:
    return Slots(8, {})


@pytest.fixture
def sessions(slots: Slots, clock: Clock) -> Sessions:
    return Sessions(slots, lease_s=10, clock=clock)


def test_a_session_takes_its_seats_in_order(sessions: Sessions, slots: Slots) -> None:
    first = sessions.open(1, b"a", environments=3, first_environment=100)
    second = sessions.open(2, b"b", environments=2, first_environment=200)
    assert slots.environment[first.slots].tolist() == [100, 101, 102]
    assert slots.environment[second.slots].tolist() == [200, 201]
    assert (np.diff(first.slots) > 0).all()
    assert not set(first.slots.tolist()) & set(second.slots.tolist())
    assert (slots.used, slots.free) == (5, 3)


def test_a_doubled_hello_finds_the_session_it_opened(sessions: Sessions) -> None:
    first = sessions.open(1, b"a", 3, 0)
    again = sessions.open(1, b"b", 3, 0)
    assert again is first
    assert first.routing == b"b"
    assert len(sessions) == 1


def test_too_many_environments_are_told_to_come_back(sessions: Sessions) -> None:
    sessions.open(1, b"a", 6, 0)
    with pytest.raises(ProtocolError, match="6 of 8 slots are taken") as refused:
        sessions.open(2, b"b", 3, 0)
    assert refused.value.code is ErrorCode.BUSY
    with pytest.raises(ProtocolError) as refused:
        sessions.open(3, b"c", 0, 0)
    assert refused.value.code is ErrorCode.LIMIT


def test_each_server_numbers_environments_from_a_place_of_its_own(clock: Clock) -> None:
    sessions = Sessions(Slots(8, {}), lease_s=10, clock=clock, first_number=16)
    assert sessions.open(1, b"a", 3, -1).first_environment == 16
    assert sessions.open(2, b"b", 2, 5).first_environment == 5  # an actor may number its own
    assert sessions.open(3, b"c", 2, -1).first_environment == 19


def test_steps_are_admitted_once_and_in_order(sessions: Sessions) -> None:
    session = sessions.open(1, b"a", 1, 0)
    assert sessions.admit(session, 1) is Admission.NEW
    session.waiting = True
    assert sessions.admit(session, 1) is Admission.WAITING
    session.waiting, session.answered = False, 1
    assert sessions.admit(session, 1) is Admission.ANSWERED
    assert sessions.admit(session, 2) is Admission.NEW
    for wrong in (0, 3, 2**64 - 1):
        with pytest.raises(ProtocolError) as refused:
            sessions.admit(session, wrong)
        assert refused.value.code is ErrorCode.SEQUENCE


def test_sequence_zero_never_counts_as_answered(sessions: Sessions) -> None:
    session = sessions.open(1, b"a", 1, 0)
    with pytest.raises(ProtocolError):
        sessions.admit(session, 0)


def test_silence_ends_a_lease_and_a_sign_of_life_renews_it(sessions: Sessions, clock: Clock) -> None:
    quiet = sessions.open(1, b"a", 1, 0)
    lively = sessions.open(2, b"b", 1, 0)
    clock.now = 8
    sessions.touch(lively)
    clock.now = 10.1
    assert sessions.expired() == [quiet]
    clock.now = 18.1
    assert sessions.expired() == [quiet, lively]


def test_a_closed_session_is_found_by_nobody(sessions: Sessions) -> None:
    session = sessions.open(1, b"a", 1, 0)
    sessions.close(session)
    assert sessions.find(session.token) is None
    assert sessions.open(1, b"a", 1, 0) is not session
    sessions.close(session)
    assert len(sessions) == 1


def test_closing_twice_leaves_the_session_alone_that_came_between(sessions: Sessions) -> None:
    first = sessions.open(1, b"a", 1, 0)
    sessions.close(first)
    second = sessions.open(1, b"a", 1, 0)
    sessions.close(first)
    assert sessions.open(1, b"a", 1, 0) is second


def test_three_strikes(sessions: Sessions) -> None:
    session = sessions.open(1, b"a", 1, 0)
    assert [sessions.strike(session) for _ in range(3)] == [False, False, True]


def test_freed_slots_begin_anew(slots: Slots) -> None:
    taken = slots.take(8, 0)
    slots.steps[taken] = 5
    slots.started[taken] = True
    slots.episode_return[taken] = 3
    slots.release(taken)
    again = slots.take(8, 50)
    assert not slots.steps[again].any()
    assert not slots.started[again].any()
    assert not slots.episode_return[again].any()


def test_an_actor_that_names_no_number_gets_the_lowest_that_are_free(sessions: Sessions) -> None:
    named = sessions.open(1, b"a", environments=2, first_environment=1)
    first = sessions.open(2, b"b", environments=1, first_environment=-1)
    second = sessions.open(3, b"c", environments=2, first_environment=-1)
    assert (named.first_environment, first.first_environment, second.first_environment) == (1, 0, 3)
    assert sessions.open(3, b"d", environments=2, first_environment=-1) is second  # a doubled HELLO
