"""The processes of a run on this machine: started, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from corral.launch.process import Process


class Child(Process):
    """A process of this machine.

    It leads a process group of its own, so that Ctrl-C reaches the launcher alone and the group can be ended
    with it. Its standard input is a pipe that ends when the launcher does.

    Args:
      grace_s: seconds from SIGTERM to SIGKILL.
      lock: a file descriptor that it inherits, if any: a lock on it lasts for as long as any of its heirs lives.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, grace_s: float, lock: int | None = None
    ) -> None:
        super().__init__(name, log, grace_s=grace_s)
        self._lock = lock
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._swept = True

    def start(self) -> None:
        """Start the process; what it writes is appended to `log`."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
                pass_fds=[] if self._lock is None else [self._lock],
            )
        self._swept = False

    @property
    def pid(self) -> int | None:
        """The process id, or None before the start."""
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.alive:
            assert self._process is not None
            self._process.terminate()

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives: never to another process that has its number by now."""
        if self._process is not None:
            self._process.send_signal(number)

    def tell(self, line: str) -> None:
        """Write a line to its standard input, which its lifeline reads; nothing where it does not live."""
        if self._process is not None and self._process.stdin is not None and self.alive:
            with contextlib.suppress(OSError):
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def kill(self) -> None:
        """End it and everything that it started in its group, at once, and take away its pipe."""
        if self._process is None or self._swept:
            return
        self._swept = True  # once only: the number may be another's later
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # what it was told last, and never read
                self._process.stdin.close()


def end(children: Iterable[Process], hurried: Callable[[], bool] = lambda: False) -> None:
    """Ask the children to stop, all at once; after its own grace each, or as soon as `hurried`, end them."""
    children = list(children)
    for child in children:
        child.terminate()
    begun = time.monotonic()
    while any(child.alive and time.monotonic() - begun < child.grace_s for child in children):
        if hurried():
            break
        time.sleep(0.01)
    for child in children:
        child.kill()


def describe_exit(code: int) -> str:
    """An exit code for a person: "exit code 1", "killed by SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _environment() -> dict[str, str]:
    added = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # numpy starts a thread for each core at import; a policy's work is not done there.
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    return {**added, **os.environ}
