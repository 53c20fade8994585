"""Errors that a process writes to its log and goes on after: a person should not have to look for them."""

from __future__ import annotations

import re
from pathlib import Path

from corral.launch.log_line import read_line

_AT_ONCE = 1 << 20
"""Most bytes that are looked at in one go: a log that grows faster is not read as a whole."""
_KINDS = 1000
"""Most errors that are told of one process."""
_NUMBERS = re.compile(r"\d+")


class LogWatch:
    """Follows one log file, from its end at the time of making."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._place = log.stat().st_size if log.exists() else 0
        self._rest = b""
        self._told: set[str] = set()

    def errors(self) -> list[str]:
        """The texts of what was logged as an error since the last call; the same one is told once.

        What ends a process is none of it: whoever started that sees it end.
        """
        try:
            with self.log.open("rb") as file:
                file.seek(self._place)
                data = file.read(_AT_ONCE)
        except OSError:
            return []
        self._place += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            event = read_line(line.decode(errors="replace"))
            if event is None or event.level != "ERROR":
                continue
            kind = _NUMBERS.sub("#", event.text)  # the same trouble with version 7 and 8 is one
            if kind not in self._told and len(self._told) < _KINDS:
                self._told.add(kind)
                found.append(event.text)
        return found
