"""A run's figures over time: a JSON object a line, and the same as TensorBoard scalars."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from corral.launch.errors import UserError
from corral.launch.folder import METRICS, TENSORBOARD
from corral.launch.progress import Progress, number

log = logging.getLogger(__name__)

SHORTEST_S, LONGEST_S = 0.25, 10.0
"""Seconds between two lines: dense at first, for runs of seconds, and sparse later, for runs of days."""

_SERVER = {
    "rows_per_s": "server/rows_per_s",
    "recent_batch": "server/batch",
    "latency_p50_ms": "server/latency_p50_ms",
    "latency_p99_ms": "server/latency_p99_ms",
    "timeout_us": "server/timeout_us",
    "actors": "server/actors",
    "environments": "server/environments",
    "unrolls_shed": "server/unrolls_shed",
}
_LEARNER = {
    "training_steps": "learner/training_steps",
    "policy_version": "learner/policy_version",
    "policy_lag_p50": "learner/policy_lag",
    "episodes": "learner/episodes",
}


Sink: TypeAlias = Callable[[dict[str, float]], object]
"""Takes one line of figures."""


def load_sink(name: str) -> Sink | None:
    """The function that `metrics.sink` names, or None where it names none.

    Raises:
      UserError: there is no such function.
    """
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        sink: Sink = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"metrics.sink = {name!r} cannot be had: {error}") from error
    return sink


class MetricsLog:
    """Writes how a run goes, in its folder. A full disk or a sink that fails costs figures, never the run.

    Args:
      folder: the run's.
      sink: given every line too.
      clock: seconds since the epoch.
    """

    def __init__(self, folder: Path, sink: Sink | None = None, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._sink = sink
        self._clock = clock
        self._due_s = 0.0
        self._steps = -1
        self._events: Any = None
        self._failed = False

    def record(self, progress: Progress, *, last: bool = False) -> None:
        """Write a line, if training has gone on since the one before, and it is time for one or it is the last."""
        too_soon = progress.elapsed_s < self._due_s and not last
        if self._failed or too_soon or progress.env_steps in (0, self._steps):
            return
        self._due_s = progress.elapsed_s + min(max(SHORTEST_S, progress.elapsed_s / 400), LONGEST_S)
        self._steps = progress.env_steps
        values = figures(progress)
        self._hand_on(values)
        try:
            self._write(values)
        except OSError as error:
            self._failed = True
            log.error("metrics are not written any more: %s", error)

    def _hand_on(self, values: dict[str, float]) -> None:
        if self._sink is None:
            return
        try:
            self._sink(dict(values))
        except Exception:
            self._sink = None
            log.exception("metrics.sink failed, and is not called any more")

    def _write(self, values: dict[str, float]) -> None:
        now = self._clock()
        with (self._folder / METRICS).open("a") as file:
            file.write(json.dumps({"time": round(now, 3), **values}) + "\n")
        # These take a moment to import: not before training has begun. Not SummaryWriter, which writes on a thread:
        # once the disk is full, whoever writes through it waits for ever.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self._events is None:
            (self._folder / TENSORBOARD).mkdir(exist_ok=True)
            self._events = EventsWriter(str(self._folder / TENSORBOARD / "events"))
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=now, step=int(values["env_steps"]), summary=Summary(value=scalars))
        self._events.write_event(event)
        self._events.flush()


def figures(progress: Progress) -> dict[str, float]:
    """The figures of one moment, flat, by name; what nobody knows is left out."""
    losses = progress.learner.get("losses") or {}
    values: dict[str, float | None] = {
        "env_steps": progress.env_steps,
        "elapsed_s": round(progress.elapsed_s, 3),
        "mean_return": progress.mean_return,
        **{name: number(progress.server, key) for key, name in _SERVER.items()},
        **{name: number(progress.learner, key) for key, name in _LEARNER.items()},
        **{f"training/{name}": number(losses, name) for name in losses},
    }
    return {name: value for name, value in values.items() if value is not None}


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of the run in `folder`, in order; half a line, from a disk that was full, is passed over."""
    try:
        lines = (folder / METRICS).read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
