"""The dashboard of `corral run`: a process of its own beside the run's, and the run goes on without it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from corral.launch.folder import LOGS
from corral.launch.lifeline import GRACE_S
from corral.launch.process import Process
from corral.launch.processes import Child, describe_exit, end
from corral.launch.progress import Goal

LOG = "dashboard.log"


class DashboardCompanion:
    """Starts the page with the run, says where it is, and ends it with the run; see `Companion`.

    Args:
      host, port: as `serve` takes them.
    """

    def __init__(self, host: str = "127.0.0.1", port: int | None = None) -> None:
        self._host = host
        self._port = port
        self._child: Child | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._note: Callable[[str], None] = lambda text: None
        self._told = ""

    def begin(
        self,
        folder: Path,
        children: Mapping[str, Process],
        figures: Mapping[str, Mapping[str, Any]],
        note: Callable[[str], None],
    ) -> None:
        """Start it."""
        # The address holds the token, so it goes through a folder that only this user can enter.
        self._place = tempfile.TemporaryDirectory(prefix="corral-dashboard-")
        self._note = note
        port = [] if self._port is None else [str(self._port)]
        command = [
            sys.executable,
            "-m",
            "corral.dashboard.child",
            str(folder),
            str(self._address),
            self._host,
            *port,
        ]
        self._child = Child("dashboard", command, folder / LOGS / LOG, grace_s=GRACE_S)
        self._child.start()

    def look(self) -> bool:
        """Say where it is as soon as that is known, or that it is gone; a run goes on without."""
        if self._child is None:
            return False
        if not self._told and self._address.exists():
            self._told = self._address.read_text()
            self._note(f"dashboard: {self._told}")
        code = self._child.poll()
        if code is not None:
            error = self._child.last_error() or f"see {self._child.log}"
            self._note(f"the dashboard ended ({describe_exit(code)}), the run goes on: {error}")
            self.end()
        return False

    def goal(self) -> Goal | None:
        """None: the run's own is shown."""
        return None

    def end(self) -> None:
        """End it."""
        if self._child is not None:
            end([self._child])
            self._child = None
        if self._place is not None:
            self._place.cleanup()
            self._place = None

    @property
    def _address(self) -> Path:
        assert self._place is not None
        return Path(self._place.name) / "address"
