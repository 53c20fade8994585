"""How far a process has come, for whoever watches it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

EVERY_S = 0.1


class Diary:
    """A file with the latest figures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def write(self, **figures: float) -> None:
        """Keep these figures, unless the last ones are of just now."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_S
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(figures))
        os.replace(draft, self._path)


def read(path: Path) -> dict[str, float]:
    """What `Diary` kept last; nothing before the first time."""
    try:
        figures: dict[str, float] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return figures
