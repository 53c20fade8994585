"""Whoever goes with a run, and does something to it: the dashboard, or chaos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from corral.launch.process import Process
from corral.launch.progress import Goal


class Companion(Protocol):
    """Whoever goes with a run, and does something to it."""

    def begin(
        self,
        folder: Path,
        children: Mapping[str, Process],
        figures: Mapping[str, Mapping[str, Any]],
        note: Callable[[str], None],
    ) -> None:
        """The processes have been started.

        Args:
          folder: the run's.
          children: by name.
          figures: as `StatusPoller` has them, kept new.
          note: says something to the person who watches.
        """
        ...

    def look(self) -> bool:
        """Called again and again on the main thread, and must not block. True ends the run, as a signal does."""
        ...

    def goal(self) -> Goal | None:
        """How far it is; None before it has begun."""
        ...

    def end(self) -> None:
        """The processes will be ended now."""
        ...
