from __future__ import annotations

import pytest

from actor_client.timesheet import Timesheet
from corral.protocol import Work
from corral.telemetry import Board
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(50.0)


def passes(clock: Clock, seconds: float) -> None:
    clock.now += seconds


def test_the_two_take_turns(clock: Clock) -> None:
    board = Board(clock=clock)
    sheet = Timesheet(board, clock=clock)
    sheet.session(0, True)
    assert board.not_ready() == ""
    for _ in range(2):
        passes(clock, 0.5)
        sheet.waits()
        passes(clock, 0.25)
        sheet.works(0, 4)
    assert sheet.work(0) == Work(environment_s=1.0, wait_s=0.5, requests=2, steps=8)
    passes(clock, 0.5)
    sheet.waits()
    assert board.samples["actor_steps_total"] == 8
    assert board.samples["actor_environment_seconds_total"] == 1.5
    assert board.samples["actor_wait_seconds_total"] == 0.5


def test_what_goes_on_counts_already(clock: Clock) -> None:
    sheet = Timesheet(None, clock=clock)
    sheet.session(0, True)
    passes(clock, 2.0)
    assert sheet.work(0) == Work(2.0, 0.0, 0, 0)
    sheet.waits()
    passes(clock, 3.0)
    assert sheet.work(0) == Work(2.0, 3.0, 0, 0)


def test_a_new_session_begins_at_nothing(clock: Clock) -> None:
    board = Board(clock=clock)
    sheet = Timesheet(board, clock=clock)
    sheet.session(0, True)
    sheet.waits()
    passes(clock, 1.0)
    sheet.works(0, 4)
    sheet.waits()
    passes(clock, 1.0)
    sheet.session(0, False)
    assert board.not_ready() == "no session with a server"
    passes(clock, 5.0)
    sheet.session(0, True)
    assert sheet.rejoins == 1
    sheet.works(0)  # the answer never came
    passes(clock, 0.5)
    assert sheet.work(0) == Work(0.5, 0.0, 0, 0)
    sheet.waits()
    assert board.samples["actor_wait_seconds_total"] == 7.0  # of its whole life


def test_each_part_has_its_own_time_and_all_share_the_waiting(clock: Clock) -> None:
    board = Board(clock=clock)
    sheet = Timesheet(board, 2, clock)
    sheet.waits()
    passes(clock, 8.0)  # for sessions
    sheet.session(0, True)
    sheet.works(0)
    assert board.not_ready() == "no session with a server"
    passes(clock, 0.5)
    sheet.waits()
    sheet.session(1, True)
    assert board.not_ready() == ""
    passes(clock, 1.0)
    sheet.works(0, 3)
    passes(clock, 0.25)
    sheet.waits()
    sheet.works(1, 2)
    passes(clock, 2.0)
    assert sheet.work(0) == Work(environment_s=0.75, wait_s=0.5, requests=1, steps=3)
    assert sheet.work(1) == Work(environment_s=2.0, wait_s=0.5, requests=1, steps=2)
    # Every moment is told once.
    passes(clock, 1.0)
    sheet.waits()
    assert board.samples["actor_environment_seconds_total"] == 3.75
    assert board.samples["actor_wait_seconds_total"] == 9.0
    assert board.samples["actor_steps_total"] == 5

    sheet.session(1, False)
    sheet.session(1, True)
    assert sheet.rejoins == 1
    assert sheet.work(0).steps == 3
    assert sheet.work(1).steps == 0
