"""What a machine has, and whether Corral will run on it: one finding for each thing that people stumble over."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.provenance import usable_cores, versions
from corral.launch.reach import how_far

OLDEST_PYTHON = (3, 11)
_EXTRAS = {
    "actor": ("gymnasium", "typer", "pydantic"),
    "server": ("tensorflow", "keras", "tensorboardX"),
    "jax": ("jax", "keras", "tensorboardX"),
    "torch": ("torch", "keras"),
    "dashboard": ("nicegui",),
}
_LEAST_FREE_BYTES = 1 << 30
_SPARE_FILES = 64
_ASKED = 5
"""Times that a server is asked, for the median of the round trips."""


class State(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    POOR = "poor"  # it will run, and worse than it could
    BAD = "bad"  # it will not run


@dataclass(frozen=True)
class Finding:
    """What was found of one thing, and, where it is not good, what to do."""

    name: str
    state: State
    text: str
    advice: str = ""


Check = Callable[[], Finding]


def machine_checks(folder: Path) -> Iterator[Check]:
    """Of the machine itself; `folder` is where run folders are made."""
    yield python
    yield packages
    yield processors
    yield socket_folder
    yield lambda: run_folder(folder)


def experiment_checks(experiment: Experiment) -> Iterator[Check]:
    """Of what an experiment will ask of the machine."""
    yield lambda: open_files(2 * experiment.actor.processes + _SPARE_FILES)
    named = {"the server": experiment.server.address, "the learner": experiment.learner.unrolls_address}
    named["the weights"] = experiment.learner.weights_address
    for name, address in named.items():
        if address.startswith("tcp://"):
            yield lambda name=name, address=address: port(name, address)  # type: ignore[misc]


def python() -> Finding:
    """The interpreter."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", State.BAD, text, "Corral needs Python 3.11 or newer")
    if sys.platform == "win32":
        return Finding("python", State.POOR, text, "on Windows there is no ipc://, so corral run does not work")
    return Finding("python", State.GOOD, text)


def packages() -> Finding:
    """Which extras are there, and so which commands work."""
    there = [extra for extra, names in _EXTRAS.items() if all(map(find_spec, names))]
    known = ("corral", "numpy", "pyzmq", "tensorflow", "jax", "torch", "keras", "gymnasium")
    found = versions()
    text = ", ".join(f"{name} {found[name]}" for name in known if name in found)
    if {"server", "jax", "torch"} & set(there):
        return Finding("packages", State.GOOD, text)
    advice = 'this can be an actor\'s machine; to train or serve: pip install "corral[server]"'
    return Finding("packages", State.POOR, text, advice)


def processors() -> Finding:
    """Cores, memory, and how busy they are."""
    cores = usable_cores()
    text = f"{cores} cores"
    with suppress(OSError, ValueError, AttributeError):
        text += f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores / 2:
        return Finding(
            "processors", State.POOR, f"{text}, load {load:.1f}", "others keep it busy: figures will be low"
        )
    if cores < 2:
        return Finding("processors", State.POOR, text, "server, learner and actors will take turns on one core")
    return Finding("processors", State.GOOD, text)


def open_files(needed: int) -> Finding:
    """How many files a process may have open: two sockets for each actor of a server."""
    try:
        import resource
    except ImportError:  # not on Windows
        return Finding("open files", State.GOOD, "no limit is known")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    text = f"{'no limit' if soft == endless else f'{soft:,}'}, {needed:,} needed"
    if soft == endless or soft >= needed:
        return Finding("open files", State.GOOD, text)
    may = "" if hard == endless or hard >= needed else f" (an administrator must raise the hard limit of {hard:,})"
    return Finding("open files", State.BAD, text, f"ulimit -n {needed} before the start{may}")


def socket_folder() -> Finding:
    """Whether a local run finds a place for its sockets."""
    from corral.launch.sockets import make_socket_folder

    try:
        folder = make_socket_folder()
    except UserError as error:
        return Finding("sockets", State.BAD, "no place", str(error))
    shutil.rmtree(folder, ignore_errors=True)
    return Finding("sockets", State.GOOD, f"in {folder.parent}")


def run_folder(folder: Path) -> Finding:
    """Whether runs can be written, and how much room there is."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK):
        return Finding("run folder", State.BAD, f"{place} cannot be written", "name another: --folder, run.folder")
    free = shutil.disk_usage(place).free
    text = f"{folder}, {free / 2**30:,.0f} GiB free"
    if free < _LEAST_FREE_BYTES:
        return Finding("run folder", State.POOR, text, "checkpoints and logs may not fit: name another run.folder")
    return Finding("run folder", State.GOOD, text)


def port(name: str, address: str) -> Finding:
    """Whether an address that the experiment listens on is free."""
    where = urlsplit(address)
    label = f"port of {name}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if where.hostname in (None, "*", "0.0.0.0") else where.hostname, where.port or 0))
        except socket.gaierror:
            return Finding(label, State.BAD, address, f"{where.hostname} is no name or address of this machine")
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return Finding(label, State.POOR, f"{address} is another machine's", "it has to listen there")
            return Finding(
                label, State.BAD, f"{address}: {error.strerror}", "end what listens there, or take another"
            )
    return Finding(label, State.GOOD, f"{address} is free")


def keys_check(folder: Path) -> Finding:
    """What the keys in a folder are good for."""
    from corral.protocol.keys import KeysError, Role, caller

    towards = {Role.ACTOR: Role.SERVER, Role.OPERATOR: Role.SERVER, Role.SERVER: Role.LEARNER}
    towards[Role.LEARNER] = Role.SERVER
    good, reasons = [], []
    for role, other in towards.items():
        try:
            caller(folder, role, other)
            good.append(str(role))
        except KeysError as error:
            reasons.append(str(error))
    # One that is there and cannot be used is worse than one that is not there.
    unsafe = [reason for reason in reasons if "read by others" in reason or "malformed" in reason]
    if unsafe or not good:
        return Finding("keys", State.BAD, str(folder), (unsafe or reasons)[0])
    return Finding("keys", State.GOOD, f"{folder}: this machine can be {', '.join(good)}")


def reachability(address: str, folder: Path | None, timeout_s: float = 3.0) -> Finding:
    """Whether a server answers at `address`, how fast, and if not, how far one comes."""
    from corral.protocol import fetch_status
    from corral.protocol.keys import KeysError, Role, caller

    try:
        own = caller(folder, Role.OPERATOR, Role.SERVER)
    except KeysError:
        return _greet(address, folder, timeout_s)
    trips: list[float] = []
    while len(trips) < _ASKED:
        began = time.perf_counter()
        figures = fetch_status(address, timeout_s, keys=own)
        trips.append(time.perf_counter() - began)
        if figures is None:
            return Finding("server", State.BAD, f"{address} does not answer", how_far(address, timeout_s))
    # A connection is made anew each time: three round trips, and five with keys.
    text = f"{address} answers within {statistics.median(trips) * 1e3:.1f} ms, connection included"
    if not figures or not figures.get("ready"):
        return Finding("server", State.POOR, text, "it is not ready: it waits for a learner's first weights")
    return Finding("server", State.GOOD, f"{text}; {figures.get('actors', 0):,} actors")


def _greet(address: str, folder: Path | None, timeout_s: float) -> Finding:
    """As an actor's machine, which may not ask for figures, finds out."""
    from actor_client import PolicyClient, UnansweredError

    began = time.perf_counter()
    try:
        with PolicyClient(address, timeout_s=timeout_s, keys=folder) as client:
            _ = client.observation  # asked for by a greeting
            took_ms = (time.perf_counter() - began) * 1e3
    except UnansweredError:
        return Finding("server", State.BAD, f"{address} does not answer", how_far(address, timeout_s))
    return Finding("server", State.GOOD, f"{address} lets this machine's actors in, within {took_ms:.1f} ms")
