"""What TensorBoard shows of a run: scalars, histograms of episode returns, and the run's hyperparameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from corral.agents.settings import USERS
from corral.launch.folder import EXPERIMENT, TENSORBOARD, read_json

if TYPE_CHECKING:
    import numpy as np

RETURNS = "episode_returns"
_METRICS = ("mean_return", "env_steps", "elapsed_s")
"""Scalars that the table of hyperparameters compares runs by."""
_LEARNER = ("batch_unrolls", "queue_batches", "max_policy_lag", "publish_every", "replay")
_BINS = 30

Hyperparameters: TypeAlias = dict[str, str | float | bool]


class TensorBoard:
    """Event files in a run's folder; a run that goes on adds another one, which TensorBoard shows as one run.

    Made when there is something to write: these modules take a moment to import. Not by SummaryWriter, which writes
    on a thread: once the disk is full, whoever writes through it waits for ever.

    Raises `OSError` as soon as anything cannot be written.
    """

    def __init__(self, folder: Path, now: float) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.summary import hparams

        place = folder / TENSORBOARD
        place.mkdir(exist_ok=True)
        # A name of its own: the time in it counts in seconds, and two lives of a run may begin within one.
        self._writer = EventsWriter(str(place / "events"), f".{sum(1 for _ in place.iterdir()):04}")
        chosen = hyperparameters(read_json(folder / EXPERIMENT))
        # How a run ended is not told: it may go on.
        experiment, start, _ = hparams(chosen, dict.fromkeys(_METRICS))
        if chosen:
            self._write(now, 0, experiment)
            self._write(now, 0, start)

    def write(self, now: float, step: int, scalars: Mapping[str, float], returns: np.ndarray | None = None) -> None:
        """Write the figures of one moment.

        Args:
          now: seconds since the epoch.
          step: environment steps.
          returns: float64 `[n]`: of the episodes that a histogram shows; None adds none.
        """
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import make_histogram

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        if returns is not None:
            values.append(Summary.Value(tag=RETURNS, histo=make_histogram(returns, _BINS)))
        self._write(now, step, Summary(value=values))
        self._writer.flush()

    def _write(self, now: float, step: int, summary: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=now, step=step, summary=summary))


def hyperparameters(experiment: Mapping[str, Any]) -> Hyperparameters:
    """What may make a difference to learning, of an experiment's effective tables: dotted key -> value.

    Tables that the run's algorithm does not look at are left out.
    """
    if not experiment:
        return {}
    agent = dict(experiment["agent"])
    for table, users in USERS.items():
        if agent["name"] not in users:
            agent.pop(table, None)
    learner = {name: value for name, value in experiment["learner"].items() if name in _LEARNER}
    if agent["name"] in USERS["actor_critic"]:  # trains on what is fresh, and replays nothing
        learner.pop("replay", None)
    tables = {
        "run": {"seed": experiment["run"]["seed"]},
        "environment": experiment["environment"],
        "actor": {name: experiment["actor"][name] for name in ("processes", "environments")},
        "server": {name: experiment["server"][name] for name in ("batching", "unrolls")},
        "learner": learner,
        "agent": agent,
    }
    return dict(_flat("", tables))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str | float | bool]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, item)
    elif value is not None:
        yield prefix, value if isinstance(value, str | int | float | bool) else json.dumps(value)
