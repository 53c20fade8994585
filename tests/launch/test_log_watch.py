from __future__ import annotations

import json
from pathlib import Path

from corral.launch.log_watch import LogWatch

LINE = "2026-11-24T17:00:00.000Z ERROR run=x role=learner logger=learner.learner: {}\n"


def test_new_errors_come_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(LINE.format("an old one"))
    watch = LogWatch(log)
    assert watch.errors() == []
    with log.open("a") as file:
        file.write("some text\n" + LINE.format("first") + LINE.format("second")[:-9])
        file.flush()
        assert watch.errors() == ["first"]
        file.write(LINE.format("second")[-9:] + LINE.format("first"))
        file.flush()
        assert watch.errors() == ["second"]
        assert watch.errors() == []


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    watch = LogWatch(tmp_path / "x.log")
    assert watch.errors() == []
    (tmp_path / "x.log").write_bytes(b"\xff\n" + LINE.format("first").encode())
    assert watch.errors() == ["first"]


def test_of_other_lines_nothing_is_told(tmp_path: Path) -> None:
    watch = LogWatch(tmp_path / "x.log")
    lines = [
        LINE.format("x").replace(" ERROR ", f" {level} ") for level in ("DEBUG", "INFO", "WARNING", "CRITICAL")
    ]
    lines += ["  Traceback (most recent call last):\n", "  ERROR x\n", "an environment prints ERROR too: yes\n"]
    (tmp_path / "x.log").write_text("".join(lines))
    assert watch.errors() == []


def test_errors_in_json_are_told_as_well(tmp_path: Path) -> None:
    watch = LogWatch(tmp_path / "x.log")
    events = [{"level": "ERROR", "event": f"version {number} was refused"} for number in (7, 8)]
    (tmp_path / "x.log").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert watch.errors() == ["version 7 was refused"]
