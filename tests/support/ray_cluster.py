"""A Ray cluster of three nodes on this machine, each at a loopback address of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.support.ports import free_ports
from tests.support.processes import ROOT, until

HEAD = "127.0.0.2"
WORKERS = ("127.0.0.3", "127.0.0.4")


class RayCluster:
    """A head without processors, on which a launcher runs, and nodes that take the processes of a run.

    Args:
      cpus: processors that Ray counts on each node but the head.

    Attributes:
      address: of the head.
    """

    def __init__(self, cpus: int = 4) -> None:
        self._cpus = cpus
        # Ray's sockets lie in it: its path must be short.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        self.address = f"{HEAD}:{free_ports(1)[0]}"
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        port = self.address.rpartition(":")[2]
        try:
            head = ["--head", "--port", port, "--include-dashboard=false", "--temp-dir", self._folder.name]
            self._start(HEAD, 0, *head)
            for node in WORKERS:
                self.add(node)
        except BaseException:
            self.close()
            raise

    def add(self, node: str) -> None:
        """Start the node of that address, a new one or one that was killed."""
        self._start(node, self._cpus, "--address", self.address)

    def kill(self, node: str) -> None:
        """Take a node away, as a machine that loses its power: none of its processes gets to do anything."""
        _kill_tree(self._nodes.pop(node).pid)

    def runs(self, node: str) -> bool:
        """Whether the node of that address is there."""
        return node in self._nodes

    def commands(self, node: str) -> list[str]:
        """The commands of everything that runs on a node, or was started there and goes on."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("CORRAL_TEST_NODE") == f"{self.address} {node}":
                    found.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def close(self) -> None:
        """End every node."""
        for node in reversed(list(self._nodes)):
            self.kill(node)
        self._folder.cleanup()

    def _start(self, node: str, cpus: int, *arguments: str) -> None:
        # In the foreground, so that all of a node is beneath one process of ours.
        common = ["--node-ip-address", node, "--num-cpus", str(cpus), "--num-gpus", "0"]
        common += ["--object-store-memory", "100000000", "--disable-usage-stats", "--block"]
        log = Path(self._folder.name) / f"{node}.log"
        with log.open("ab") as output:
            self._nodes[node] = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "start", *arguments, *common],
                cwd=ROOT,
                env=os.environ | environment() | {"CORRAL_TEST_NODE": f"{self.address} {node}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        begun = "Ray runtime started"
        until(lambda: self._nodes[node].poll() is not None or begun in log.read_text(), 120, f"the node {node}")
        assert self._nodes[node].poll() is None, log.read_text()


def environment() -> dict[str, str]:
    """What a process needs beside its own environment to be part of the cluster: no telemetry, and a node that is
    gone counts as gone soon."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "5000",
        "RAY_health_check_failure_threshold": "3",
        "PYTHONPATH": str(ROOT),
    }


def _kill_tree(pid: int) -> None:
    """SIGKILL for a process and all beneath it, those with a session of their own too."""
    try:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:  # the parent first: it starts nothing more
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(tree, timeout=10)
