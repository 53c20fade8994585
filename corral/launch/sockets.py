"""The private folder of a local run's sockets, and the addresses in it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.experiment import MOST_SERVERS, Experiment
from corral.launch.settings import SecuritySettings

ACTORS, UNROLLS, WEIGHTS = "actors", "unrolls", "weights"
_LONGEST = f"{ACTORS}-{MOST_SERVERS}"

_MOST_BYTES = 103
"""Longest path of a Unix socket: 107 bytes on Linux, 103 on macOS."""


def make_socket_folder() -> Path:
    """A new folder that only this user can enter, with a path short enough for sockets in it.

    It lies in TMPDIR where that is short enough. Raises `UserError` where no place is.
    """
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if len(bytes(parent)) + len("/corral-xxxxxxxx/") + len(_LONGEST) > _MOST_BYTES:
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="corral-", dir=parent.resolve()))
        except OSError:
            continue
    raise UserError("there is no place for sockets: set TMPDIR to a folder that can be written, with a short path")


def local_addresses(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with every address inside the socket folder, where nobody else comes: without keys."""
    servers = experiment.servers
    return replace(
        experiment,
        servers=servers if isinstance(servers, int) else len(servers),
        security=SecuritySettings(),
        server=replace(experiment.server, address=f"ipc://{folder / ACTORS}"),
        learner=replace(
            experiment.learner,
            unrolls_address=f"ipc://{folder / UNROLLS}",
            weights_address=f"ipc://{folder / WEIGHTS}",
        ),
    )
