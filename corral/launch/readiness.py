"""A file that exists while a process is ready: the cheapest thing that a health check can look at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path


def ready_mark(path: Path | None) -> Callable[[bool], None]:
    """What makes the file at `path` when told True, and removes it when told False; nothing where it is None.

    A file that an earlier process left is removed now. Raises `OSError` where the file cannot be made or removed.
    """
    if path is None:
        return lambda ready: None
    path.unlink(missing_ok=True)

    def mark(ready: bool) -> None:
        if ready:
            path.touch()
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    return mark
