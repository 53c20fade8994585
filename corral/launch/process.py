"""One process of a run, wherever it is: what a launcher does with it, and what its log says."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path

from corral.launch.log_line import read_line

RESTARTS_PER_MINUTE = 5


class Process(ABC):
    """One process of a run, and its successors after crashes.

    Args:
      log: what it writes, on this machine.
      grace_s: seconds from asking it to stop to ending it.

    Attributes:
      restarts: how often it was started again.
    """

    def __init__(self, name: str, log: Path, *, grace_s: float) -> None:
        self.name = name
        self.log = log
        self.grace_s = grace_s
        self.restarts = 0
        self._recent: deque[float] = deque()

    @abstractmethod
    def start(self) -> None:
        """Start the process; what it writes is appended to `log`."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it was started and has not ended."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process id, on its machine, or None before the start."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask it to stop."""

    @abstractmethod
    def kill(self) -> None:
        """End it and everything that it started, at once."""

    @abstractmethod
    def signal(self, number: int) -> None:
        """Send it a signal, if it lives: never to another process that has its number by now."""

    @abstractmethod
    def tell(self, line: str) -> None:
        """Write a line to its standard input, which its lifeline reads; nothing where it does not live."""

    def restart(self) -> bool:
        """Start it again, unless it has used up its restarts of the last minute: then False."""
        now = time.monotonic()
        while self._recent and now - self._recent[0] > 60.0:
            self._recent.popleft()
        if len(self._recent) >= RESTARTS_PER_MINUTE:
            return False
        self._recent.append(now)
        self.restarts += 1
        self._start_again()
        return True

    def _start_again(self) -> None:
        self.kill()
        self.start()

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of its log, for a person."""
        lines = [line for raw in self._log_end() for line in _readable(raw)]
        return lines[-count:]

    def last_words(self) -> str:
        """The last line of its log, or what it tells; "" where there is none."""
        line = (self._log_end() or [""])[-1]
        event = read_line(line)
        return line.strip() if event is None else (event.traceback or event.text).splitlines()[-1].strip()

    def last_error(self) -> str | None:
        """The error that it said it ends for, last; None where it said none."""
        for line in reversed(self._log_end()):
            event = read_line(line)
            if event is not None and event.level == "CRITICAL":
                return event.text
        return None

    def _log_end(self) -> list[str]:
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 16_384))
                return log.read().decode(errors="replace").splitlines()
        except OSError:
            return []


def _readable(line: str) -> list[str]:
    """A line of a log as lines that fit a terminal: of a JSON event, its text and traceback."""
    event = read_line(line) if line.startswith("{") else None
    return [line] if event is None else [f"{event.level} {event.text}", *event.traceback.splitlines()]
