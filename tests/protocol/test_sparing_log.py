from __future__ import annotations

import logging

import pytest

from corral.protocol.sparing_log import BURST, EVERY_S, SparingLog


def test_a_flood_is_a_few_lines_and_the_next_one_counts_the_others(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    sparing = SparingLog(logging.getLogger("sparing"), clock=lambda: now[0])
    for number in range(1000):
        sparing.say(logging.WARNING, "bad message %d", number)
    assert [record.getMessage() for record in caplog.records] == [f"bad message {n}" for n in range(BURST)]
    now[0] += EVERY_S
    sparing.say(logging.WARNING, "bad message %d", 1000)
    sparing.say(logging.WARNING, "bad message %d", 1001)
    assert len(caplog.records) == BURST + 1
    assert caplog.records[-1].getMessage() == f"bad message 1000 ({1000 - BURST} lines like this were left out)"
    now[0] += 1000 * EVERY_S
    for number in range(BURST):
        sparing.say(logging.WARNING, "%d", number)
    assert caplog.records[BURST + 1].getMessage() == "0 (1 lines like this were left out)"
    assert caplog.records[-1].getMessage() == str(BURST - 1)
