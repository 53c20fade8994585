"""The private folder of a local run's sockets, and the addresses in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.experiment import MOST_SERVERS, Experiment
from corral.launch.settings import SecuritySettings
from inference_server.settings import ServerSettings
from learner.settings import LearnerSettings

ACTORS, UNROLLS, WEIGHTS = "actors", "unrolls", "weights"
_BEHIND = f"-{MOST_SERVERS}"

_MOST_BYTES = 103
"""Longest path of a Unix socket: 107 bytes on Linux, 103 on macOS."""


def make_socket_folder(policies: Iterable[str] = ()) -> Path:
    """A new folder that only this user can enter, with a path short enough for sockets in it.

    It lies in TMPDIR where that is short enough. Raises `UserError` where no place is.

    Args:
      policies: the names of those whose sockets lie there too.
    """
    longest = len(WEIGHTS) + max((len(f"-{name}") for name in policies), default=0) + len(_BEHIND)
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if len(bytes(parent)) + len("/corral-xxxxxxxx/") + longest > _MOST_BYTES:
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
        server=_local_server(experiment.server, folder, ""),
        learner=_local_learner(experiment.learner, folder, ""),
        policies={
            name: replace(
                policy,
                server=_local_server(policy.server, folder, f"-{name}"),
                learner=_local_learner(policy.learner, folder, f"-{policy.past or name}"),
            )
            for name, policy in experiment.policies.items()
        },
    )


def _local_server(server: ServerSettings, folder: Path, suffix: str) -> ServerSettings:
    return replace(server, address=f"ipc://{folder / ACTORS}{suffix}")


def _local_learner(learner: LearnerSettings, folder: Path, suffix: str) -> LearnerSettings:
    return replace(
        learner,
        unrolls_address=f"ipc://{folder / UNROLLS}{suffix}",
        weights_address=f"ipc://{folder / WEIGHTS}{suffix}",
    )
