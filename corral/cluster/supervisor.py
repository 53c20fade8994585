"""Who stands beside one process on its node: starts it, hands on what it writes, and does as is told."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from corral.cluster.directory import KEPT
from corral.cluster.mirror import Mirror
from corral.cluster.papers import Addresses, Arrival, Luggage, Orders, Report
from corral.launch.cast import Part, cast
from corral.launch.experiment import Experiment
from corral.launch.folder import EXPERIMENT, LOGS, write_json
from corral.launch.lifeline import grace_of
from corral.launch.process import Process
from corral.launch.processes import Child, end
from corral.launch.settings import SecuritySettings
from corral.launch.stage import child_command

PERIOD_S = 0.25
"""Seconds between two looks at the process, and two reports."""
_MOST_LOG = 1 << 20
"""Most bytes of a log that are handed on in one go."""

KEYS = "keys"


class DirectoryCalls(Protocol):
    """The directory, as a supervisor sees it from afar: each call returns when it has been answered."""

    def join(self, name: str, role: str, arrival: Arrival) -> Luggage: ...

    def report(self, name: str, supervisor: str, report: Report) -> Orders | None: ...

    def log(self, name: str, supervisor: str, text: bytes) -> None: ...

    def keep(self, name: str, supervisor: str, role: str, path: str, content: bytes | None) -> None: ...


def make_child(part: Part, folder: Path, grace_s: float) -> Process:
    """The process itself, on this machine, with the addresses and keys of the experiment in `folder`."""
    return Child(part.name, child_command(part, folder, ""), folder / LOGS / f"{part.name}.log", grace_s=grace_s)


class Supervisor:
    """See the module.

    Args:
      node: the IP address of this machine, at which its process will listen if it listens.
      make: what makes the process, once.
    """

    def __init__(
        self,
        part: Part,
        directory: DirectoryCalls,
        node: str,
        make: Callable[[Part, Path, float], Process] = make_child,
    ) -> None:
        self._part = part
        self._directory = directory
        self._id = secrets.token_hex(8)
        ports = free_ports(node, {"server": 1, "learner": 2}.get(part.role, 0))
        arrival = Arrival(self._id, node, tuple(f"tcp://{node}:{port}" for port in ports))
        luggage = directory.join(part.name, part.role, arrival)
        self._experiment = luggage.experiment
        self._private = Path(tempfile.mkdtemp(prefix="corral-"))
        self._folder = self._private / luggage.run
        unpack(luggage, self._folder)
        os.environ.update(luggage.environ)
        self._mirror = Mirror(self._folder, KEPT[part.role])
        self._child = make(part, self._folder, grace_of(part.role, self._experiment.server.drain_s))
        self._lives = 0
        self._needed: Addresses = {}
        self._logged = 0

    def run(self) -> None:
        """Go on until the process is none of the run's any more, or another supervisor has its place."""
        try:
            while self.look():
                time.sleep(PERIOD_S)
        finally:
            self.close()

    def look(self) -> bool:
        """Report, and do as is told; False when there is nothing left to do here."""
        # The code first: what is handed on after it is all that there will be.
        code = self._child.poll()
        self._hand_on()
        pid = self._child.pid if code is None else None
        orders = self._directory.report(self._part.name, self._id, Report(self._lives, code, pid))
        if orders is None:
            return False
        self._obey(orders)
        return True

    def close(self) -> None:
        """End the process, at once, and leave nothing behind."""
        self._child.kill()
        shutil.rmtree(self._private, ignore_errors=True)

    def _hand_on(self) -> None:
        for path, content in self._mirror.news():
            self._directory.keep(self._part.name, self._id, self._part.role, path, content)
        with contextlib.suppress(FileNotFoundError), self._child.log.open("rb") as log:
            log.seek(self._logged)
            while text := log.read(_MOST_LOG):
                self._directory.log(self._part.name, self._id, text)
                self._logged += len(text)

    def _obey(self, orders: Orders) -> None:
        for number in orders.signals:
            self._child.signal(number)
        for line in orders.lines:
            self._child.tell(line)
        wanted = needs(self._part, self._experiment, orders.addresses)
        if wanted is None or signal.SIGTERM in orders.signals:
            return
        if orders.lives > self._lives:
            self._lives = orders.lives
            self._child.kill()
            self._start(wanted, orders.addresses)
        elif self._child.alive and wanted != self._needed:
            # An actor leaves the servers that are still there; a server has nobody to bring its unrolls to.
            if self._part.role == "actor":
                end([self._child])
            self._child.kill()
            self._start(wanted, orders.addresses)

    def _start(self, needed: Addresses, addresses: Addresses) -> None:
        self._needed = needed
        experiment = placed(self._experiment, addresses, self._folder.parent / KEYS)
        write_json(self._folder / EXPERIMENT, experiment.effective())
        self._child.start()


def needs(part: Part, experiment: Experiment, addresses: Addresses) -> Addresses | None:
    """The addresses that a process has to know, and is started again for if they change; None before all that it
    has to wait for have a place."""
    names = [other.name for other in cast(experiment) if other.role in ("server", "learner")]
    if not all(name in addresses for name in names):
        return None
    # Actors meet servers alone, everybody else the learner. A learner knows its own addresses.
    wanted = [name for name in names if (name != "learner") == (part.role == "actor")]
    return {} if part.role == "learner" else {name: addresses[name] for name in wanted}


def placed(experiment: Experiment, addresses: Addresses, keys: Path) -> Experiment:
    """The experiment with the addresses that hold now, and the keys at this place."""
    servers = tuple(addresses[part.name][0] for part in cast(experiment) if part.role == "server")
    unrolls, weights = addresses["learner"]
    return replace(
        experiment,
        servers=1 if len(servers) == 1 else servers,
        security=SecuritySettings(keys=str(keys)),
        server=replace(experiment.server, address=servers[0]),
        learner=replace(experiment.learner, unrolls_address=unrolls, weights_address=weights),
    )


def unpack(luggage: Luggage, folder: Path) -> None:
    """Put what a process needs into its folder, and its keys beside it."""
    (folder / LOGS).mkdir(parents=True)
    for name, content in luggage.files.items():
        _write(folder / name, content)
    for name, content in luggage.keys.items():
        _write(folder.parent / KEYS / name, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)


def free_ports(host: str, count: int) -> list[int]:
    """Ports that nobody listens at now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]


def shared_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the launcher's environment that all processes of its run share."""
    return {
        name: environ[name]
        for name in ("CORRAL_LOG_FORMAT", "CORRAL_LOG_LEVEL", "KERAS_BACKEND")
        if name in environ
    }
