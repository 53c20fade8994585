"""A run's figures over time: a JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from corral.launch.errors import UserError
from corral.launch.folder import METRICS, read_lines
from corral.launch.progress import Progress, number
from corral.launch.tensorboard import TensorBoard
from learner.returns_file import read_returns

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

SHORTEST_S, LONGEST_S = 0.25, 10.0
"""Seconds between two lines: dense at first, for runs of seconds, and sparse later, for runs of days."""

EPISODES = 100
"""Episodes of which a histogram is made, at least; a run's last one takes what there is."""

_SERVER = {
    "rows_per_s": "server/rows_per_s",
    "recent_batch": "server/batch",
    "latency_p50_ms": "server/latency_p50_ms",
    "latency_p99_ms": "server/latency_p99_ms",
    "timeout_us": "server/timeout_us",
    "actors": "server/actors",
    "environments": "server/environments",
    "unrolls_shed": "server/unrolls_shed",
    "actor_environment_s": "actors/environment_s",
    "actor_wait_s": "actors/wait_s",
}
_LEARNER = {
    "training_steps": "learner/training_steps",
    "policy_version": "learner/policy_version",
    "policy_lag_p50": "learner/policy_lag",
    "episodes": "learner/episodes",
    "return_std": "learner/return_std",
    "uptime_s": "learner/uptime_s",
    "wait_s": "learner/wait_s",
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
        self._tensorboard: TensorBoard | None = None
        before = read_returns(folder)
        self._episodes = before.episodes if before else 0
        self._failed = False

    def record(self, progress: Progress, *, last: bool = False) -> None:
        """Write a line, if training has gone on since the one before, and it is time for one or it is the last."""
        too_soon = progress.elapsed_s < self._due_s and not last
        if self._failed or too_soon or not progress.env_steps:
            return
        if progress.env_steps == self._steps:
            if last:
                self._attempt(lambda: self._write_events(self._clock(), {}, last))
            return
        self._due_s = progress.elapsed_s + min(max(SHORTEST_S, progress.elapsed_s / 400), LONGEST_S)
        self._steps = progress.env_steps
        values = figures(progress)
        self._hand_on(values)
        self._attempt(lambda: self._write(values, last))

    def _attempt(self, write: Callable[[], None]) -> None:
        try:
            write()
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

    def _write(self, values: dict[str, float], last: bool) -> None:
        now = self._clock()
        with (self._folder / METRICS).open("a") as file:
            file.write(json.dumps({"time": round(now, 3), **values}) + "\n")
        self._write_events(now, values, last)

    def _write_events(self, now: float, values: dict[str, float], last: bool) -> None:
        if self._tensorboard is None:
            self._tensorboard = TensorBoard(self._folder, now)
        returns = self._new_returns(last)
        if values or returns is not None:
            self._tensorboard.write(now, self._steps, values, returns)

    def _new_returns(self, last: bool) -> np.ndarray | None:
        """The returns of the episodes since the last histogram, if there are enough for one."""
        told = read_returns(self._folder)
        if told is None:
            return None
        new = told.episodes - self._episodes
        if new < 0:
            self._episodes = told.episodes  # the learner went back to a checkpoint
        if new < (1 if last else EPISODES):
            return None
        self._episodes = told.episodes
        return told.latest[-new:]


def figures(progress: Progress) -> dict[str, float]:
    """The figures of one moment, flat, by name; what nobody knows is left out."""
    losses = progress.learner.get("losses") or {}
    values: dict[str, float | None] = {
        "env_steps": progress.env_steps,
        "elapsed_s": round(progress.elapsed_s, 3),
        "mean_return": progress.mean_return,
        **{name: number(progress.server, key) for key, name in _SERVER.items()},
        "server/engine_s": _sum(progress.server.get("replica_busy_s")),
        **{name: number(progress.learner, key) for key, name in _LEARNER.items()},
        **{f"training/{name}": number(losses, name) for name in losses},
    }
    return {name: value for name, value in values.items() if value is not None}


def _sum(values: object) -> float | None:
    """What the numbers of a list add up to; None for anything else."""
    return float(sum(values)) if isinstance(values, list | tuple) and values else None


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of the run in `folder`, in order."""
    return read_lines(folder / METRICS)
