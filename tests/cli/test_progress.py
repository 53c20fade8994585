"""What is said of long work: on a terminal and elsewhere, with a clock of the test's own."""

from __future__ import annotations

import io
import logging
import re

import pytest
from rich.console import Console

from corral.cli.progress import progress, warming
from tests.support.clock import Clock


def test_elsewhere_there_are_plain_lines() -> None:
    file, clock = io.StringIO(), Clock(0.0)
    with progress(Console(file=file, width=20), clock=clock) as say:
        say("starting [the] server")
        say("starting [the] server")
        say("measuring", 0, 4)
        clock.now = 10
        say("measuring", 1, 4)
    assert file.getvalue() == (
        "starting [the] server\nmeasuring, 0 of 4 done\nmeasuring, 1 of 4 done, about 30 s left\n"
    )


def test_quick_work_says_so_seldom() -> None:
    file, clock = io.StringIO(), Clock(0.0)
    with progress(Console(file=file), every_s=10, clock=clock) as say:
        for second in range(26):
            clock.now = second
            say("playing", second, 100)
    assert file.getvalue().splitlines() == [
        "playing, 10 of 100 done, about 90 s left",
        "playing, 20 of 100 done, about 80 s left",
    ]


def test_on_a_terminal_a_bar_changes_in_place_and_goes() -> None:
    file, clock = io.StringIO(), Clock(0.0)
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with progress(console, clock=clock) as say:
        for second in range(5):
            clock.now = 10 * second
            say("measuring", second, 4)
    told = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    assert "measuring" in told
    assert "4 of 4 done, about 0 s left" in told
    assert file.getvalue().rstrip().endswith("\x1b[2K")  # it has taken its line away


def test_a_warm_up_is_in_the_log_where_there_is_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "corral"), warming("loading x.keras") as warm:
        for done in range(1, 5):
            warm(done, 4)
    assert [record.message for record in caplog.records] == ["loading x.keras"]  # too quick for more
