"""Separate machines on one: Linux network namespaces with a cable each to a switch, and nothing beyond it.

The switch, a bridge, has a namespace of its own too. So no address, route or name on this machine changes, networks
of several test processes cannot meet although all have the same addresses, and there is no way out of any of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
import zmq

from corral.protocol import fetch_status
from corral.protocol.keys import Caller
from tests.support.cable import enter
from tests.support.processes import Process

Result = TypeVar("Result")

NETWORK = "198.18.0"  # of RFC 2544, for tests between machines: nobody's real address
_NAMESPACES = Path("/var/run/netns")  # where `ip netns` keeps them
_numbers = itertools.count()


class HostProcess(Process):
    """A command that runs on a host; `output` holds what it says."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )


class Host:
    """One machine of a network, with a loopback interface and an address of its own.

    Attributes:
      address: its IP address.
    """

    def __init__(self, namespace: str, switch: str, address: str) -> None:
        self._namespace = namespace
        self._switch = switch
        self._port = f"port-{namespace.rpartition('-')[2]}"
        self.address = address

    @contextlib.contextmanager
    def process(self, *command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[HostProcess]:
        """A command that runs here, and is gone when the block ends."""
        started = HostProcess(["ip", "netns", "exec", self._namespace, *command], folder, environment)
        try:
            yield started
        finally:
            if started.popen.poll() is None:
                started.kill()
            # pytest shows this where the test failed, and nowhere else.
            print(f"--- {self.address}: {' '.join(command)}\n{started.output}")

    def call(self, function: Callable[[], Result]) -> Result:
        """What `function` returns to a thread that is on this host; so are the sockets that it opens."""

        def there() -> Result:
            enter(str(_NAMESPACES / self._namespace))
            return function()

        # A thread of its own, which ends here: nobody else's thread changes its place.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(there).result()

    def status(self, address: str, timeout_s: float = 1.0, keys: Caller | None = None) -> dict[str, Any] | None:
        """`fetch_status`, asked from here."""

        def ask() -> dict[str, Any] | None:
            # A context of its own: its I/O threads, which open the connections, are made here.
            with zmq.Context() as context:
                return fetch_status(address, timeout_s, context, keys)

        return self.call(ask)

    def unplug(self) -> None:
        """Pull its cable out of the switch: everything on the way is lost, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def plug_in(self) -> None:
        """Put its cable back."""
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def route(self, *options: str) -> None:
        """Change its route to the others, as `ip route change` takes `options`; without any, as it was."""
        _ip("-n", self._namespace, "route", "change", f"{NETWORK}.0/24", "dev", "eth0", *options)

    @contextlib.contextmanager
    def far(self, delay_s: float = 0.0, loss: float = 0.0, seed: int = 1) -> Iterator[dict[str, int]]:
        """A long cable in place of its own, for as long as the block lasts (`tests/support/cable.py`).

        Args:
          delay_s: for which every packet is under way, in either direction.
          loss: the part of all packets that never arrive.

        Yields:
          how many packets were `carried` and `lost`, once the block has ended.
        """
        _ip("-n", self._switch, "link", "delete", self._port)
        ends = [(str(_NAMESPACES / self._switch), self._port), (str(_NAMESPACES / self._namespace), "eth0")]
        settings = json.dumps({"ends": ends, "delay_s": delay_s, "loss": loss, "seed": seed})
        command = [sys.executable, "-m", "tests.support.cable", settings]
        counts: dict[str, int] = {}
        try:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cable:
                assert cable.stdin is not None
                assert cable.stdout is not None
                assert cable.stdout.readline() == "up\n"
                self._connect()
                yield counts
                cable.stdin.close()
                counts |= json.loads(cable.stdout.read())
        finally:
            self.lay_cable()

    def lay_cable(self) -> None:
        """A short cable from the switch."""
        end = ("type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("-n", self._switch, "link", "add", self._port, *end)
        self._connect()

    def _connect(self) -> None:
        """Both ends of the cable, wherever they come from, to what they connect."""
        _ip("-n", self._switch, "link", "set", self._port, "master", "bridge", "up")
        # The same hardware address with every cable: nobody else notices.
        hardware = "02:00:00:00:00:" + format(int(self.address.rpartition(".")[2]), "02x")
        _ip("-n", self._namespace, "link", "set", "eth0", "address", hardware)
        _ip("-n", self._namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._namespace, "link", "set", "eth0", "up")


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """A network of `count` hosts, up to 26, gone with all that runs on them when the block ends.

    Skips the test where this machine or user cannot have them; fails it there with REQUIRE_HOSTS=1.
    """
    if os.geteuid() != 0:
        _impossible("only root may make network namespaces")
    if shutil.which("ip") is None:
        _impossible("there is no `ip` command (iproute2, Linux)")
    _sweep()
    name = f"corral-{os.getpid()}-{next(_numbers)}"
    switch = f"{name}-switch"
    names = [f"{name}-{chr(ord('a') + number)}" for number in range(count)]
    try:
        try:
            made = _build(switch, names)
        except subprocess.CalledProcessError as error:
            _impossible(f"`{' '.join(error.cmd)}` fails: {error.stderr.strip()}")
        yield made
    finally:
        for namespace in (*names, switch):
            _remove(namespace)


def _build(switch: str, names: list[str]) -> list[Host]:
    _ip("netns", "add", switch)
    _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    _ip("-n", switch, "link", "set", "bridge", "up")
    made = []
    for number, namespace in enumerate(names, 1):
        host = Host(namespace, switch, f"{NETWORK}.{number}")
        _ip("netns", "add", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        host.lay_cable()
        made.append(host)
    _ip("netns", "exec", switch, "true")  # a container may have namespaces and yet run nothing in them
    return made


def _remove(namespace: str) -> None:
    """Remove a namespace, if it is there, and end what still runs in it."""
    if not (_NAMESPACES / namespace).exists():
        return
    for pid in _ip("netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "delete", namespace)


def _sweep() -> None:
    """Remove what test processes left that were killed before they could."""
    for namespace in _NAMESPACES.glob("corral-*"):
        owner = re.match(r"corral-(\d+)-", namespace.name)
        if owner and not Path("/proc", owner[1]).exists():
            with contextlib.suppress(subprocess.CalledProcessError):  # another test process sweeps too
                _remove(namespace.name)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def _impossible(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_HOSTS") == "1":
        pytest.fail(f"separate hosts are required (REQUIRE_HOSTS=1): {reason}")
    pytest.skip(f"no separate hosts here: {reason}")
