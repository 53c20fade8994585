"""Errors that a process writes to its log and goes on after: a person should not have to look for them."""

from __future__ import annotations

import re
from pathlib import Path

_MARK = " ERROR "
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
        """What was logged as an error since the last call, without time and level; the same one is told once."""
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
            _, mark, text = line.decode(errors="replace").partition(_MARK)
            text = text.strip()
            kind = _NUMBERS.sub("#", text)  # the same trouble with version 7 and 8 is one
            if mark and kind not in self._told and len(self._told) < _KINDS:
                self._told.add(kind)
                found.append(text)
        return found
