"""Real processes for tests: started with what they need, ended by their pid, their words kept."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corral.protocol import fetch_status

ROOT = Path(__file__).parents[2]


class Process:
    """A Python process of ours, run in the project's root; `output` holds what it says."""

    def __init__(self, *arguments: str, python: str = sys.executable, **environment: str) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self.popen = subprocess.Popen(
            [python, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"} | environment,
        )

    @property
    def output(self) -> str:
        """Everything it has said so far."""
        self._file.seek(0)
        return self._file.read().decode(errors="replace")

    def end(self, timeout_s: float = 20) -> int:
        """Ask it to stop (SIGTERM) and wait; its exit code. Raises where it does not."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(timeout_s)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.popen.kill()
        self.popen.wait(20)


@contextlib.contextmanager
def process(*arguments: str, python: str = sys.executable, **environment: str) -> Iterator[Process]:
    """A process that is gone when the block ends."""
    started = Process(*arguments, python=python, **environment)
    try:
        yield started
    finally:
        if started.popen.poll() is None:
            started.kill()
        # pytest shows this where the test failed, and nowhere else.
        print(f"--- {' '.join(arguments)}\n{started.output}")


def until(condition: Callable[[], Any], timeout_s: float = 60, what: str = "it") -> Any:
    """The first true value of `condition`. Raises `TimeoutError` where there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not happen within {timeout_s} s")


def until_serving(address: str, timeout_s: float = 60) -> dict[str, Any]:
    """The status of the server at `address`, once it is ready."""

    def ready() -> dict[str, Any] | None:
        status = fetch_status(address, 0.5)
        return status if status and status["ready"] else None

    return until(ready, timeout_s, f"a ready server at {address}")
