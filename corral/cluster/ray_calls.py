"""The calls to Ray itself: what is a Ray actor, and where it shall be."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from corral.cluster.directory import Directory
from corral.cluster.papers import Arrival, Luggage, Orders, Report
from corral.cluster.placement import Bundle
from corral.cluster.supervisor import Supervisor
from corral.launch.cast import Part
from corral.launch.errors import UserError

NAMESPACE = "corral"
_ANSWER_S = 5.0
"""Seconds within which the cluster's head takes a connection."""


class FarDirectory:
    """The directory from a supervisor's node; see `corral.cluster.supervisor.DirectoryCalls`."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def join(self, name: str, role: str, arrival: Arrival) -> Luggage:
        """See `Directory`."""
        luggage: Luggage = ray.get(self._handle.join.remote(name, role, arrival))
        return luggage

    def report(self, name: str, supervisor: str, report: Report) -> Orders | None:
        """See `Directory`."""
        orders: Orders | None = ray.get(self._handle.report.remote(name, supervisor, report))
        return orders

    def log(self, name: str, supervisor: str, text: bytes) -> None:
        """See `Directory`."""
        ray.get(self._handle.log.remote(name, supervisor, text))

    def keep(self, name: str, supervisor: str, role: str, path: str, content: bytes | None) -> None:
        """See `Directory`."""
        ray.get(self._handle.keep.remote(name, supervisor, role, path, content))


class Place:
    """The Ray actor of one supervisor. Where its node is lost, Ray makes another elsewhere, and runs that."""

    def __init__(self, part: Part, run: str) -> None:
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        self._supervisor = Supervisor(part, FarDirectory(find_directory(run)), address)

    def run(self) -> None:
        """See `Supervisor`."""
        self._supervisor.run()


def connect(address: str, working_dir: str = "") -> str:
    """Join the cluster that `address` names, or RAY_ADDRESS, or this machine's; returns what to call it.

    Raises:
      UserError: nothing answers there, there is no cluster, or it cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    where = address or os.environ.get("RAY_ADDRESS", "") or "auto"
    if where != "auto":
        _check_answers(where)
    options: dict[str, Any] = {"working_dir": working_dir} if working_dir else {}
    try:
        with contextlib.redirect_stdout(None):
            ray.init(
                where, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, runtime_env=options
            )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        hint = (
            "no Ray cluster runs on this machine: begin one (ray start --head), or name a head with --ray-address"
            if where == "auto"
            else f"the Ray cluster at {where} cannot be joined"
        )
        raise UserError(f"{hint} ({str(error).splitlines()[0]})") from error
    return where


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(f"--ray-address {address}: must be HOST:PORT of the cluster's head, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error.strerror or error}): ray start --head there, or name "
            "another with --ray-address"
        ) from error


def disconnect() -> None:
    """Leave the cluster; what this process has started there ends."""
    ray.shutdown()


def make_directory(name: str, *arguments: Any) -> Any:
    """The directory as a named Ray actor on this machine, for it writes into the run's folder."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "num_cpus": 0, "scheduling_strategy": here}
    return ray.remote(Directory).options(**options).remote(*arguments)


def find_directory(name: str) -> Any:
    """The directory of a run that goes on. Raises `UserError`."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError as error:
        raise UserError(f"no run called {name} goes on in this cluster") from error


def reserve(bundles: list[Bundle]) -> PlacementGroup:
    """Ask for room for servers and learner, close to each other."""
    group: PlacementGroup = placement_group(bundles, strategy="PACK")
    return group


def release(group: PlacementGroup) -> None:
    """Give the room back."""
    with contextlib.suppress(RayError):
        remove_placement_group(group)


def reserved(group: PlacementGroup) -> bool:
    """Whether there is room."""
    return bool(group.wait(0))


def make_place(part: Part, run: str, bundle: Bundle, group: PlacementGroup | None, index: int) -> tuple[Any, Any]:
    """The supervisor of a process, within the reserved room or spread over the nodes: its handle, and what is ready
    when it has ended."""
    strategy: Any = "SPREAD" if group is None else PlacementGroupSchedulingStrategy(group, index)
    options: dict[str, Any] = {
        "num_cpus": bundle.get("CPU", 0.0),
        "num_gpus": bundle.get("GPU", 0.0),
        "scheduling_strategy": strategy,
        "max_restarts": -1,
        "max_task_retries": -1,
    }
    handle: Any = ray.remote(Place).options(**options).remote(part, run)
    return handle, handle.run.remote()


def failure(reference: Any) -> str:
    """Why a supervisor has ended that should not have; nothing while it goes on."""
    ready, _ = ray.wait([reference], timeout=0)
    if not ready:
        return ""
    try:
        ray.get(reference)
    except Exception as error:  # whatever its constructor raised there, an import above all
        return str(error)
    return "it ended"


def wait_for_ends(references: list[Any], seconds: float) -> None:
    """Wait until supervisors have left by themselves, at most so long."""
    if references:
        ray.wait(references, num_returns=len(references), timeout=seconds)


def end_actor(handle: Any) -> None:
    """End a Ray actor for good."""
    with contextlib.suppress(RayError):
        ray.kill(handle, no_restart=True)


def cluster_resources() -> Mapping[str, float]:
    """What the whole cluster has, whoever uses it."""
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def scale(name: str, actors: int) -> int:
    """Tell the directory of a run how many actors are wanted; how many were. Raises `UserError`."""
    before: int = ray.get(find_directory(name).want_actors.remote(actors), timeout=30)
    return before
