"""A Ray cluster as the place of a run's processes."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from corral.cluster import ray_calls
from corral.cluster.keys import bundles_of, make_keys, operator_fetch
from corral.cluster.papers import Picture
from corral.cluster.placement import Bundle, asked, automatic_gpus, missing
from corral.cluster.process import RemoteProcess
from corral.cluster.supervisor import KEYS, shared_environment
from corral.launch.cast import Part, cast
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS
from corral.launch.lifeline import grace_of
from corral.launch.poller import Fetch
from corral.launch.process import Process

log = logging.getLogger(__name__)

_PERIOD_S = 0.1
_HEARTBEATS_S = 1.0
"""Seconds beyond a process's own grace for what travels between it and the launcher."""
_LEAVE_S = 5.0
"""Seconds that supervisors have to end what they stand beside, and to tidy up."""
_NOTED_S = 10.0
"""Seconds without a place, or without a word from there, until a person is told."""


class RayStage:
    """See `corral.launch.stage.Stage`. The cluster has been joined.

    Args:
      where: the cluster's address, for a person.
    """

    def __init__(self, experiment: Experiment, where: str) -> None:
        servers = experiment.servers
        self._experiment = replace(experiment, servers=servers if isinstance(servers, int) else len(servers))
        self._where = where
        self._parts = cast(self._experiment)
        self._resources = ray_calls.cluster_resources()
        gpus = automatic_gpus(self._parts, experiment.ray, self._resources)
        self._asked = {part.name: asked(part, experiment.ray, gpus) for part in self._parts}
        self._core = [part.name for part in self._parts if part.role in ("server", "learner")]
        self._group: Any = None
        self._directory: Any = None
        self._keys: Path | None = None
        self._children: dict[str, RemoteProcess] = {}
        self._leaving: dict[str, tuple[RemoteProcess, float]] = {}
        self._places: dict[str, tuple[Any, Any]] = {}
        self._waiting: dict[str, float] = {}
        self._told: dict[str, int] = {}
        self._picture = Picture({}, {}, experiment.actor.processes)
        self._lost = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="directory", daemon=True)
        self.fetch: Fetch | None = None

    @property
    def children(self) -> Mapping[str, Process]:
        """See `Stage`."""
        return self._children

    @property
    def addresses(self) -> Mapping[str, str]:
        """See `Stage`: of those that have a place, servers by number."""
        known = self._picture.addresses
        return {name: known[name][0] for name in self._core if name in known}

    def open(self, folder: Path, lock: int) -> None:
        """See `Stage`: makes the run's keys, its directory, and asks for room."""
        folder = folder.resolve()
        self._folder = folder
        self._keys = make_keys(folder / KEYS)
        self.fetch = operator_fetch(self._keys, lambda: self.addresses.get("learner", ""))
        environ = shared_environment(os.environ)
        self._directory = ray_calls.make_directory(
            folder.name, folder, self._experiment, bundles_of(self._keys), environ
        )
        self._group = ray_calls.reserve([self._asked[name] for name in self._core])
        self._children = {part.name: self._make(part) for part in self._parts}
        self._thread.start()

    def look(self) -> list[str]:
        """See `Stage`.

        Raises:
          UserError: the directory is lost, a place cannot be set up, or there is no room for servers and learner.
        """
        if self._lost:
            raise UserError(f"the Ray cluster at {self._where} is lost: {self._lost}")
        for name, (_, ended) in self._places.items():
            if name in self._children and (text := ray_calls.failure(ended)):
                raise UserError(f"no place for {name} could be set up in the cluster: {text}")
        return [*self._scale(), *self._news()]

    def close(self) -> None:
        """See `Stage`: no Ray actor, no reserved room and no key stays."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_LEAVE_S)
        seated = self._picture.seats
        ends = [ended for name, (_, ended) in self._places.items() if name in seated]
        ray_calls.wait_for_ends(ends, _LEAVE_S)
        for handle, _ in self._places.values():
            ray_calls.end_actor(handle)
        if self._group is not None:
            ray_calls.release(self._group)
        if self._directory is not None:
            ray_calls.end_actor(self._directory)
        ray_calls.disconnect()
        if self._keys is not None:
            shutil.rmtree(self._keys, ignore_errors=True)

    def _make(self, part: Part) -> RemoteProcess:
        return RemoteProcess(
            part,
            self._folder / LOGS / f"{part.name}.log",
            grace_s=grace_of(part.role, self._experiment.server.drain_s) + _HEARTBEATS_S,
            picture=lambda: self._picture,
            order=self._order,
            place=self._place,
        )

    def _order(self, method: str, *arguments: Any) -> None:
        getattr(self._directory, method).remote(*arguments)

    def _place(self, part: Part) -> None:
        core = part.name in self._core
        index = self._core.index(part.name) if core else -1
        bundle = self._bundle(part)
        self._waiting[part.name] = time.monotonic()
        self._places[part.name] = ray_calls.make_place(
            part, self._folder.name, bundle, self._group if core else None, index
        )

    def _bundle(self, part: Part) -> Bundle:
        return self._asked.get(part.name) or asked(part, self._experiment.ray, 0)

    def _refresh(self) -> None:
        """Keep the picture new, on a thread of its own: a cluster that is busy holds up no launcher."""
        while not self._closed.wait(_PERIOD_S):
            try:
                self._picture = ray.get(self._directory.picture.remote(), timeout=30)
            except GetTimeoutError:
                continue
            except RayError as error:
                if self._closed.is_set():
                    return
                # Nobody can be asked to stop any more, and so nobody is waited for.
                self._picture = replace(self._picture, seats={})
                self._lost = str(error).splitlines()[0]
                return

    def _scale(self) -> list[str]:
        """Start and end actors until there are as many as are wanted."""
        wanted = self._picture.actors
        numbers = sorted(int(name.removeprefix("actor-")) for name in self._children if name.startswith("actor-"))
        free = (number for number in count() if f"actor-{number}" not in {*self._children, *self._leaving})
        for number in islice(free, max(0, wanted - len(numbers))):
            child = self._make(Part("actor", number, f"actor-{number}"))
            self._children[child.name] = child
            child.start()
        for number in numbers[wanted:]:
            child = self._children.pop(f"actor-{number}")
            child.terminate()
            self._leaving[child.name] = (child, time.monotonic() + (child.grace_s if child.alive else 0.0))
        self._see_off()
        return [f"{wanted} actors from now on, {len(numbers)} before"] if wanted != len(numbers) else []

    def _see_off(self) -> None:
        """Give back the places of actors that have left, or should have: each holds processors until then."""
        now = time.monotonic()
        for name, (child, until) in list(self._leaving.items()):
            handle, ended = self._places[name]
            if not child.alive or now > until:
                child.kill()
            if ray_calls.failure(ended) or now > until + _LEAVE_S:
                ray_calls.end_actor(handle)
                for known in (self._leaving, self._places, self._told, self._waiting):
                    known.pop(name, None)

    def _news(self) -> list[str]:
        """Who has found a place, or lost it, or waits for one."""
        texts = []
        now = time.monotonic()
        for name in self._children:
            seat = self._picture.seats.get(name)
            if seat is not None and seat.silent_s < _NOTED_S:
                self._waiting.pop(name, None)
            elif seat is not None and name not in self._waiting:
                self._waiting[name] = now
                texts.append(f"{name} on {seat.node} is silent: if its node is lost, it is placed anew")
            if seat is not None and self._told.get(name) != seat.moves:
                self._told[name] = seat.moves
                texts.append(f"{name} is placed on {seat.node}{' again' if seat.moves else ''}")
        return [*texts, *self._waits(now)]

    def _waits(self, now: float) -> list[str]:
        """Tell once who has waited long for a place. Raises `UserError` where the run cannot wait any longer."""
        long = [name for name, since in self._waiting.items() if now - since > _NOTED_S]
        for name in long:
            if name in self._core and now - self._waiting[name] > self._experiment.ray.wait_s:
                raise UserError(self._no_room(name))
        fresh = [name for name in self._waiting if name not in self._told] if long else []
        self._told.update(dict.fromkeys(fresh, -1))
        return [f"waiting for room in the cluster: {', '.join(fresh)}{self._too_little()}"] if fresh else []

    def _no_room(self, name: str) -> str:
        return (
            f"the Ray cluster at {self._where} had no room for the {name} within "
            f"ray.wait_s = {self._experiment.ray.wait_s:g} s{self._too_little()}: add nodes, or lower "
            "ray.server_cpus, ray.learner_cpus and their GPUs"
        )

    def _too_little(self) -> str:
        bundles = [self._asked.get(name, {}) for name in self._children]
        text = missing(bundles, ray_calls.cluster_resources())
        return f" ({text})" if text else ""
