"""What a plan is made from: an experiment's server, learner and environments, measured small on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from corral.bench.load import Load
from corral.bench.planning import Demand, Serving
from corral.bench.result import Result
from corral.bench.think import Think, measure_think
from corral.bench.traffic import Sizes, answer_bytes, request_bytes
from corral.bench.training import Training, measure_training
from corral.launch.errors import UserError
from corral.launch.estimate import Say, say_nothing
from corral.launch.experiment import Experiment

CLIENTS = (1, 4, 16, 64)
"""Requests at once, in the measurements of a server."""

Transport = Literal["ipc", "tcp", "curve"]


@dataclass(frozen=True)
class Figures:
    """What was measured of an experiment.

    Attributes:
      results: of its server, as `corral bench` has them.
      training: of its learner.
      think: of its environments; None where nobody asked.
    """

    results: tuple[Result, ...]
    training: Training
    think: Think | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def measure_figures(
    experiment: Experiment,
    *,
    results: Sequence[Result] = (),
    environments: bool = True,
    transport: Transport = "curve",
    seconds: float = 2.0,
    say: Say = say_nothing,
) -> Figures:
    """Measure what a plan for `experiment` needs.

    Args:
      results: measurements of its server that are there already; else they are made.
      environments: whether its environments are stepped too.
      transport: how clients reach the server.
      seconds: of each measurement of the server.

    Raises:
      UserError: environments, agent or server could not be made.
    """
    steps = (0 if results else len(CLIENTS)) + 1 + environments
    with effective(experiment) as file:
        think = None
        if environments:
            say(f"stepping {experiment.actor.environments} of {experiment.environment.label}", 0, steps)
            think = measure_think(file)
        say("training on made-up unrolls", int(environments), steps)
        training = measure_training(file)
        served = list(results)
        if not served:
            for number, clients in enumerate(CLIENTS):
                say(f"serving {clients} clients", 1 + environments + number, steps)
                served.append(_serve(str(file), experiment, clients, transport, seconds))
    return Figures(tuple(served), training, think)


@contextmanager
def effective(experiment: Experiment) -> Iterator[Path]:
    """A file with the whole experiment, overrides included, for the processes that serve and step it."""
    with tempfile.TemporaryDirectory(prefix="corral-measure-") as folder:
        file = Path(folder) / "experiment.json"
        file.write_text(json.dumps(experiment.effective()))
        yield file


def demand_of(experiment: Experiment, actors: int, think_s: float, computing: float = 1.0) -> Demand:
    """What `actors` of an experiment ask of its servers."""
    batching = experiment.server.batching
    timeout_us = 0 if batching.timeout_us == "auto" else batching.timeout_us
    return Demand(
        actors,
        experiment.actor.environments,
        think_s,
        computing,
        timeout_us / 1e6,
        batching.max_size,
        experiment.learner.publish_every,
    )


def sizes_of(experiment: Experiment, training: Training, *, keys: bool) -> Sizes:
    """What an experiment's messages weigh. Raises `BadEnvironmentError`."""
    from actor_client.environments import spaces

    rows = experiment.actor.environments
    observation, action = spaces(experiment.environment)
    return Sizes(
        request_bytes(observation, rows, keys=keys),
        answer_bytes(action, rows, keys=keys),
        training.unrolled_bytes,
        training.weights_bytes,
    )


def serving_of(figures: Figures, rows: int) -> Serving:
    """What one server does with requests of `rows`. Raises `UserError` where that was not measured."""
    try:
        return Serving.of(figures.results, rows)
    except ValueError as error:
        raise UserError(f"{error}: measure with --request step --rows {rows} --clients 1,4,16,64") from error


def read_results(path: Path) -> list[Result]:
    """The results in what `corral bench --json` printed.

    Raises:
      UserError: the file holds none, or those of another version.
    """
    try:
        rows = json.loads(path.read_text())["results"]
        known = {item.name for item in fields(Result)}
        return [Result(**{name: value for name, value in row.items() if name in known}) for row in rows]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no results of `corral bench --json`: {error!r}") from error


def _serve(model: str, experiment: Experiment, clients: int, transport: Transport, seconds: float) -> Result:
    from corral.bench.stage import Stage  # psutil: not for the processes that only read the constants

    batching = experiment.server.batching
    try:
        load = Load(
            clients=clients, processes=min(2, clients), rows=experiment.actor.environments, transport=transport
        )
    except ValueError as error:
        raise UserError(f"actor.environments: {error}") from error
    # Waiting for a fuller batch is arithmetic (`corral.bench.planning`): here is measured what the work takes.
    settings = {"timeout_us": 0, "max_size": batching.max_size, "buckets": batching.bucket_sizes()}
    with Stage(model, load, settings, floors=False) as stage:
        return stage.measure(seconds)
