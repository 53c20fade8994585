"""Counts that are read after their process was killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference_server.ledger import Entry, Ledger, read_ledgers


def test_what_was_noted_is_there_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from inference_server.ledger import Ledger;"
        "ledger = Ledger(pathlib.Path(sys.argv[1]), 2**64 - 1); ledger.note(1, 0, 0); ledger.note(2**40, 7, 5);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert read_ledgers(tmp_path) == {2**64 - 1: Entry(2**40, 7, 5, closed=False)}


def test_one_that_ends_well_is_closed(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path / "new", 1), Ledger(tmp_path / "new", 2)
    first.note(10, 1, 2)
    first.close()
    second.note(20, 3, 4)
    assert read_ledgers(tmp_path / "new") == {1: Entry(10, 1, 2, True), 2: Entry(20, 3, 4, False)}


def test_a_server_without_a_folder_for_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.ERROR):
        ledger = Ledger(tmp_path / "file", 1)
    ledger.note(1, 0, 0)
    ledger.close()
    assert "losses will not be counted" in caplog.text
    Ledger(None, 1).close()
    assert read_ledgers(tmp_path / "none") == {}


def test_another_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0000000000000001").write_bytes(os.urandom(5))
    (tmp_path / "notes.txt").write_bytes(bytes(32))
    Ledger(tmp_path, 3).note(1, 0, 0)
    assert read_ledgers(tmp_path) == {3: Entry(1, 0, 0, False)}
