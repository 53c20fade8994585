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
    sheet = Timesheet(board, clock)
    sheet.session(True)
    assert board.not_ready() == ""
    for _ in range(2):
        passes(clock, 0.5)
        sheet.asks()
        passes(clock, 0.25)
        sheet.acts(4)
    assert sheet.work() == Work(environment_s=1.0, wait_s=0.5, requests=2, steps=8)
    passes(clock, 0.5)
    sheet.asks()
    assert board.samples["actor_steps_total"] == 8
    assert board.samples["actor_environment_seconds_total"] == 1.5
    assert board.samples["actor_wait_seconds_total"] == 0.5


def test_what_goes_on_counts_already(clock: Clock) -> None:
    sheet = Timesheet(None, clock)
    sheet.session(True)
    passes(clock, 2.0)
    assert sheet.work() == Work(2.0, 0.0, 0, 0)
    sheet.asks()
    passes(clock, 3.0)
    assert sheet.work() == Work(2.0, 3.0, 0, 0)


def test_a_new_session_begins_at_nothing(clock: Clock) -> None:
    board = Board(clock=clock)
    sheet = Timesheet(board, clock)
    sheet.session(True)
    sheet.asks()
    passes(clock, 1.0)
    sheet.acts(4)
    sheet.asks()
    passes(clock, 1.0)
    sheet.session(False)
    assert board.not_ready() == "no session with a server"
    passes(clock, 5.0)
    sheet.session(True)
    assert sheet.rejoins == 1
    sheet.acts(0)  # the answer never came
    passes(clock, 0.5)
    assert sheet.work() == Work(0.5, 0.0, 0, 0)
    sheet.asks()
    assert board.samples["actor_wait_seconds_total"] == 7.0  # of its whole life
