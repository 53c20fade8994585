"""The processes of a benchmark, as their parent sees them: messages down, messages up, ended for certain."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil

from corral.bench.child import Message
from corral.launch.errors import UserError

START_TIMEOUT_S = 180.0


class BenchProcess:
    """One child; see `corral.bench.child`. A context manager that ends it.

    Args:
      settings: with "role"; what that role takes.
    """

    def __init__(self, **settings: Any) -> None:
        self.role = settings["role"]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "corral.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C is the parent's to act on
            env={"TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1", **os.environ},
        )
        self.usage = psutil.Process(self._process.pid)
        self.tell(settings)

    def tell(self, message: Message) -> None:
        """Send it a message."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` says what became of it
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def hear(self, timeout_s: float = START_TIMEOUT_S) -> Message:
        """Its next message.

        Raises:
          UserError: it has ended, with its last words; or said nothing in time.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise UserError(f"the benchmark's {self.role} said nothing for {timeout_s:.0f} s{self._last_words()}")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(10)
            raise UserError(f"the benchmark's {self.role} ended{self._last_words()}")
        message: Message = json.loads(line)
        return message

    def ask(self, message: Message, timeout_s: float = START_TIMEOUT_S) -> Message:
        """Send it a message and hear the answer. Raises `UserError`."""
        self.tell(message)
        return self.hear(timeout_s)

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used."""
        with contextlib.suppress(psutil.Error):
            times = self.usage.cpu_times()
            return float(times.user + times.system)
        return 0.0

    def memory_bytes(self) -> int:
        """Bytes of memory that it holds."""
        return int(self.usage.memory_info().rss)

    def end(self, grace_s: float = 5.0) -> None:
        """Close its line, and end it where that is not enough."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> BenchProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _last_words(self) -> str:
        time.sleep(0.05)
        self._errors.seek(0)
        text = self._errors.read()[-4000:].decode(errors="replace").strip()
        lines = text.splitlines()
        said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
        return f": {said or ' / '.join(lines[-3:])}" if lines else ""
