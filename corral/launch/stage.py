"""Where the processes of a run are started: on this machine, in a private folder of sockets."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from corral.launch.cast import Part, cast
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS
from corral.launch.lifeline import grace_of
from corral.launch.poller import Fetch
from corral.launch.process import Process
from corral.launch.processes import Child
from corral.launch.sockets import local_addresses, make_socket_folder


class Stage(Protocol):
    """Where a run's processes are, and how they are started there; who starts what and when is the run's.

    Attributes:
      children: the processes by name, kept new: they may become more and fewer while the run goes on.
      addresses: name to where that process says how it does; may change too.
      fetch: how to ask there; None asks without keys.
    """

    @property
    def children(self) -> Mapping[str, Process]: ...

    @property
    def addresses(self) -> Mapping[str, str]: ...

    @property
    def fetch(self) -> Fetch | None: ...

    def open(self, folder: Path, lock: int) -> None:
        """Make the children, which are started later, for the run in `folder`.

        Args:
          lock: the file descriptor of the lock on the folder.
        """
        ...

    def look(self) -> list[str]:
        """What has happened there, for a person; called again and again, and must not block.

        Raises:
          UserError: the run cannot go on there.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind; the children have ended."""
        ...


Commands: TypeAlias = Callable[[Part, Path, Path], list[str]]
"""A process of a run, the run's folder and that of its sockets, to the command that starts it."""


def child_command(part: Part, run_folder: Path, socket_folder: Path | str) -> list[str]:
    """The command of one process of a run; without a folder of sockets, addresses are the experiment's own."""
    folders = [str(run_folder), str(socket_folder)]
    which = [str(part.number), *([part.policy] if part.policy else [])]
    return [sys.executable, "-m", "corral.launch.child", part.role, *folders, *which]


class LocalStage:
    """This machine. See `Stage`.

    Args:
      commands: what starts each process.

    Raises:
      UserError: there is no place for sockets.
    """

    def __init__(
        self, experiment: Experiment, commands: Commands = child_command, fetch: Fetch | None = None
    ) -> None:
        self._experiment = experiment
        self._commands = commands
        self._sockets = make_socket_folder(experiment.policies)
        self._cast = cast(local_addresses(experiment, self._sockets))
        self.addresses: Mapping[str, str] = {part.name: part.address for part in self._cast if part.address}
        self.children: Mapping[str, Process] = {}
        self.fetch = fetch

    def open(self, folder: Path, lock: int) -> None:
        """See `Stage`."""
        self.children = {
            part.name: Child(
                part.name,
                self._commands(part, folder, self._sockets),
                folder / LOGS / f"{part.name}.log",
                grace_s=grace_of(part.role, self._experiment.server.drain_s),
                lock=lock,
            )
            for part in self._cast
        }

    def look(self) -> list[str]:
        """See `Stage`: nothing happens here that its processes do not tell."""
        return []

    def close(self) -> None:
        """See `Stage`."""
        shutil.rmtree(self._sockets, ignore_errors=True)
