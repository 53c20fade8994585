from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from corral.launch.log_line import Event, LineFormatter, printable, read_line

FIELDS = {"run": "cart pole", "role": "actor", "actor": 3, "policy_version": None}


def record(text: str, *values: object, failed: bool = False, level: int = logging.ERROR) -> logging.LogRecord:
    trace = None
    if failed:
        try:
            raise ValueError("bad\nworse\x1b[31m")
        except ValueError:
            trace = sys.exc_info()
    made = logging.LogRecord("actor_client.runner", level, __file__, 1, text, values, trace)
    made.created = 1_795_539_600.125  # 2026-11-24T17:00:00.125Z
    return made


def test_a_plain_line_has_every_field_and_quotes_what_needs_it() -> None:
    line = LineFormatter("plain", lambda: FIELDS).format(record("lost %d: %s", 7, "gone"))
    assert line == (
        '2026-11-24T17:00:00.125Z ERROR run="cart pole" role=actor actor=3 logger=actor_client.runner: lost 7: gone'
    )


def test_a_json_line_has_the_same_fields() -> None:
    line = LineFormatter("json", lambda: FIELDS | {"policy_version": 12}).format(record("lost %d", 7))
    assert json.loads(line) == {
        "time": "2026-11-24T17:00:00.125Z",
        "level": "ERROR",
        "run": "cart pole",
        "role": "actor",
        "actor": 3,
        "policy_version": 12,
        "logger": "actor_client.runner",
        "event": "lost 7",
    }


HOSTILE = "a\nERROR b\r\x1b[2Jc\x85d\u2028e\x00\t\ud800 é"


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_message_stays_one_line_whatever_it_holds(form: str) -> None:
    line = LineFormatter(form, lambda: {"run": HOSTILE}).format(record("%s", HOSTILE))  # type: ignore[arg-type]
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    line.encode()  # what is half a character can be written all the same
    event = read_line(line)
    assert event is not None
    assert event.text.startswith("a\nERROR b")


def test_a_traceback_is_indented_in_plain_and_one_field_in_json() -> None:
    first, *rest = LineFormatter("plain").format(record("it failed", failed=True)).splitlines()
    assert first.endswith(": it failed")
    assert rest[0] == "  Traceback (most recent call last):"
    assert all(re.match("  .", line) and line.isprintable() for line in rest)
    assert rest[-2:] == ["  ValueError: bad", "  worse\\x1b[31m"]
    told = json.loads(LineFormatter("json").format(record("it failed", failed=True)))
    assert told["event"] == "it failed"
    assert told["traceback"].endswith("ValueError: bad\nworse\x1b[31m")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_line_is_read_back(form: str) -> None:
    formatter = LineFormatter(form, lambda: FIELDS)  # type: ignore[arg-type]
    line = formatter.format(record("first: line\nsecond", level=logging.CRITICAL))
    assert read_line(line) == Event("CRITICAL", "first: line\nsecond")


@pytest.mark.parametrize(
    "line", ["", "step 3: fine", "{", '{"a": 1}', "[1]", "  ValueError: x", '2026-11-24 ERROR run="x']
)
def test_what_is_no_event_is_none(line: str) -> None:
    assert read_line(line) is None


def test_a_slip_in_a_line_costs_no_more_than_the_line() -> None:
    event = read_line(LineFormatter("plain").format(record("%d rows", "many")))
    assert event is not None
    assert "%d rows" in event.text


def test_printable_text_is_left_as_it_is() -> None:
    assert printable("größer \\n") == "größer \\n"
