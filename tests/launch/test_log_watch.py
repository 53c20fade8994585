from __future__ import annotations

from pathlib import Path

from corral.launch.log_watch import LogWatch

LINE = "2026-11-24 17:00:00,000 ERROR   learner: {}\n"


def test_new_errors_come_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(LINE.format("an old one"))
    watch = LogWatch(log)
    assert watch.errors() == []
    with log.open("a") as file:
        file.write("some text\n" + LINE.format("first") + LINE.format("second")[:-9])
        file.flush()
        assert watch.errors() == ["learner: first"]
        file.write(LINE.format("second")[-9:] + LINE.format("first"))
        file.flush()
        assert watch.errors() == ["learner: second"]
        assert watch.errors() == []


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    watch = LogWatch(tmp_path / "x.log")
    assert watch.errors() == []
    (tmp_path / "x.log").write_bytes(b"\xff\n" + LINE.format("first").encode())
    assert watch.errors() == ["learner: first"]
