"""The live view on a real terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
import time
from pathlib import Path

from tests.launch.conftest import ROOT, FakeRun


def test_the_live_view_comes_and_goes(fake_run: FakeRun) -> None:
    (fake_run.folder / "plan.json").write_text("{}")
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**os.environ, "TERM": "xterm", "TMPDIR": str(fake_run.sockets), "PYTHONPATH": str(ROOT)}
        environ |= {"COLUMNS": "120", "LINES": "40"}
        script = str(Path(__file__).with_name("fake_run.py"))
        os.execve(sys.executable, [sys.executable, script, str(fake_run.experiment)], environ)
    seen = _read_until(terminal, b"return 123.5")
    fake_run.all_pids()
    os.write(terminal, b"\x03")
    seen += _read_until(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    text = seen.decode()
    assert "training" in text
    assert "123.5 of 475" in text
    assert text.rindex("\033[?25h") > text.rindex("\033[?25l")  # the cursor is back
    assert "stopped: mean return" in text.splitlines()[-1]
    fake_run.assert_nothing_is_left()


def _read_until(terminal: int, wanted: bytes | None) -> bytes:
    """What the terminal shows until it has shown `wanted`, or until its end."""
    seen = b""
    deadline = time.monotonic() + 30
    with contextlib.suppress(OSError):  # Linux's way to say that nobody writes any more
        while (wanted is None or wanted not in seen) and time.monotonic() < deadline:
            data = os.read(terminal, 65_536)
            if not data:
                break
            seen += data
    return seen
