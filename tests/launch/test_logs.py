"""What a process writes, seen from outside: each case is a process of its own, for logging is a process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corral.launch.log_line import read_line

BEGIN = "from corral.launch.logs import *; import logging, threading; log_to_stderr('server', run='r');"


def lines_of(code: str, **environment: str) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CORRAL_")}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], capture_output=True, text=True, env=clean | environment, timeout=60
    )
    return done.stderr.splitlines()


SPEAK = """
for level in ("debug", "info", "warning", "error"):
    getattr(logging.getLogger("learner.x"), level)(level)
    getattr(logging.getLogger("somebody.else"), level)("their " + level)
"""


@pytest.mark.parametrize(
    ("level", "ours"),
    [
        ("", ["info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_is_for_our_rooms_and_of_others_come_warnings(level: str, ours: list[str]) -> None:
    lines = lines_of(SPEAK, **({"CORRAL_LOG_LEVEL": level} if level else {}))
    events = [event for event in map(read_line, lines) if event is not None]
    assert len(events) == len(lines)
    assert [event.text for event in events if "their" not in event.text] == ours
    assert [event.text for event in events if "their" in event.text] == ["their warning", "their error"]


def test_the_policy_version_is_the_one_of_that_moment() -> None:
    code = "v = []; know_version(lambda: len(v) or None); know(actor=2);"
    code += "log.info('a'); v.append(0); log.info('b')"
    first, second = map(json.loads, lines_of(code, CORRAL_LOG_FORMAT="json"))
    assert "policy_version" not in first
    assert (second["policy_version"], second["run"], second["role"], second["actor"]) == (1, "r", "server", 2)


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_thread_that_ends_by_a_defect_is_an_error(form: str) -> None:
    code = "t = threading.Thread(target=lambda: 1 / 0, name='line'); t.start(); t.join()"
    event = read_line(lines_of(code, CORRAL_LOG_FORMAT=form)[0])
    assert event is not None
    assert event.level == "ERROR"
    assert event.text == "the thread line ended by a defect: ZeroDivisionError: division by zero"


def test_an_error_that_ends_a_process_is_an_event_in_json_and_a_sentence_else() -> None:
    code = "from corral.launch.errors import print_error; print_error('no such\\nfile')"
    assert lines_of(code) == ["error: no such", "file"]
    (line,) = lines_of(code, CORRAL_LOG_FORMAT="json")
    event = read_line(line)
    assert event is not None
    assert (event.level, event.text) == ("CRITICAL", "no such\nfile")


def test_a_defect_that_ends_a_process_is_one_event_in_json() -> None:
    (line,) = lines_of("raise RuntimeError('x')", CORRAL_LOG_FORMAT="json")
    told = json.loads(line)
    assert told["level"] == "CRITICAL"
    assert told["traceback"].endswith("RuntimeError: x")


@pytest.mark.parametrize(("name", "value"), [("CORRAL_LOG_FORMAT", "xml"), ("CORRAL_LOG_LEVEL", "loud")])
def test_what_there_is_not_is_refused_with_its_name(name: str, value: str) -> None:
    assert f"{name} = {value}: must be " in lines_of("", **{name: value})[-1]


def test_a_file_gets_the_same_behind_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    path.parent.mkdir()
    path.write_text("before\n")
    lines = lines_of(f"from pathlib import Path; log_to_file(Path({str(path)!r}), 'server'); log.error('x')")
    assert path.read_text().splitlines() == ["before", *lines]
