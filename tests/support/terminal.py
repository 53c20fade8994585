"""A shell on a terminal of its own, as somebody who types has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?>=]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07|\x1bP[^\x1b]*\x1b\\|\r|\x07")
_QUESTION = "\x1b[c"  # fish asks the terminal what it is, and waits for the answer
LINES, COLUMNS = 99, 400


class Terminal:
    """What is typed into it, and what it shows."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(other)
        self._shown = ""

    def type(self, keys: str) -> None:
        """Type these keys; what was shown before is forgotten."""
        self._shown = ""
        os.write(self._end, keys.encode())

    def until(self, text: str, timeout_s: float = 40) -> str:
        """What it shows since the last keys, as soon as `text` is among it, without colours."""
        deadline = time.monotonic() + timeout_s
        while text not in (shown := _CONTROL.sub("", self._shown)):
            if not select.select([self._end], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"no {text!r} within {timeout_s} s, but {shown!r}")
            read = os.read(self._end, 65536).decode(errors="replace")
            if _QUESTION in read:
                os.write(self._end, b"\x1b[?62;c")
            self._shown += read
        return shown

    def close(self) -> None:
        """End the shell."""
        os.close(self._end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminal(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A terminal that is closed when the block ends."""
    opened = Terminal(command, folder, environment)
    try:
        yield opened
    finally:
        opened.close()
