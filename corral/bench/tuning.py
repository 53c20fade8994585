"""What a user's own model and environments gain by waiting for fuller batches: one server, all settings in turn.

The experiment's agent is served, and clients stand in for its actors: as many, with as many rows in a request, and
with the time between two requests that the environments were found to take. What clients are not is environments:
they sleep while an actor would compute, unless told to compute for as long. And the learner accepts unrolls without
training on them. So what fuller batches save is worth more in training on the same cores than it is here.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corral.bench.figures import effective
from corral.bench.load import Load
from corral.bench.recommendation import Found, Recommendation, Setting, recommend
from corral.bench.result import Result, median
from corral.bench.think import Think, measure_think
from corral.launch.cast import server_addresses
from corral.launch.errors import UserError
from corral.launch.estimate import Say, say_nothing
from corral.launch.experiment import Experiment
from corral.protocol import change_settings
from inference_server.settings import BatchingSettings

TIMEOUTS_US = (0, 200, 500, 1000, 2000, 5000)
ROUNDS = 3
LEAST_S = 2.0
"""Seconds of each measurement, where nobody says."""
STEPS_EACH = 20
"""Steps of an environment that such a measurement takes at least."""


@dataclass(frozen=True)
class Tuning:
    """What was measured, and what follows from it.

    Attributes:
      think: the environments' own time.
      load: what clients did.
      seconds: of each measurement.
      found: one for each setting, ascending.
      errors: what clients were told instead of an answer, text -> how often. With any, nothing here can be trusted.
      recommendation: `recommend`'s.
    """

    think: Think
    load: Load
    seconds: float
    found: tuple[Found, ...]
    errors: dict[str, int]
    recommendation: Recommendation

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        tables = asdict(self)
        for each, table in zip(self.found, tables["found"], strict=True):
            table.update(table.pop("setting"), median_rows_per_s=each.typical)
        tables["recommendation"].update(tables["recommendation"].pop("setting"))
        return tables


def tune(
    experiment: Experiment,
    timeouts_us: Sequence[int] = TIMEOUTS_US,
    *,
    rounds: int = ROUNDS,
    seconds: float | None = None,
    busy: bool = False,
    say: Say = say_nothing,
) -> Tuning:
    """Measure every setting in each round, and recommend one.

    Args:
      seconds: of each measurement; None takes `LEAST_S`, or `STEPS_EACH` steps of the environments where these
        take longer.
      busy: whether clients compute for as long as environments take, each in a process of its own.

    Raises:
      UserError: the environments, the agent or the server could not be made.
      TimeoutError: the server did not answer.
    """
    with effective(experiment) as file:
        say(f"stepping {experiment.actor.environments} of {experiment.environment.label} for their time alone")
        think = measure_think(file)
        load = load_of(experiment, think, busy=busy)
        seconds = seconds or max(LEAST_S, STEPS_EACH * think.step_s)
        tried = settings(experiment, timeouts_us)
        results = _measured(str(file), experiment, load, tried, rounds, seconds, say)
    found = tuple(_found(setting, results[setting]) for setting in tried)
    errors: Counter[str] = Counter()
    for each in results.values():
        for result in each:
            errors.update(result.error_texts)
    recommendation = recommend(
        found, max_size=experiment.server.batching.max_size, environments=load.clients * load.rows
    )
    return Tuning(think, load, seconds, found, dict(errors), recommendation)


def load_of(experiment: Experiment, think: Think, *, busy: bool) -> Load:
    """What the experiment's actors would do to a server, of several to the fullest. Raises `UserError`."""
    actor, clients = experiment.actor, _actors(experiment)
    # Clients that sleep need no process of their own, and more processes than cores would only take turns.
    processes = clients if busy else min(clients, os.cpu_count() or 1)
    try:
        return Load(
            request="step",
            clients=clients,
            processes=processes,
            rows=actor.environments,
            think_us=think.step_s * 1e6,
            busy=busy,
        )
    except ValueError as error:
        raise UserError(f"{experiment.environment.id} cannot be played by clients: {error}") from error


def _actors(experiment: Experiment) -> int:
    """Actors that share a server."""
    return math.ceil(experiment.actor.processes / len(server_addresses(experiment)))


def settings(experiment: Experiment, timeouts_us: Sequence[int]) -> list[Setting]:
    """Every combination to measure, ascending: each timeout with each of `sizes`."""
    return sorted(Setting(size, timeout) for size in sizes(experiment) for timeout in set(timeouts_us))


def sizes(experiment: Experiment) -> list[int]:
    """The values of `max_size` to try: the experiment's, and that which holds all environments of a server at once.

    Whoever has chosen the bucket sizes has chosen the largest too: then it is that one alone. One that is smaller
    than a single actor's request cannot be tried: no server would have that actor.
    """
    batching, actor = experiment.server.batching, experiment.actor
    every = _actors(experiment) * actor.environments
    if batching.buckets or every > 65_535:
        return [batching.max_size]
    return sorted({size for size in (batching.max_size, every) if size >= actor.environments})


def buckets(experiment: Experiment, size: int) -> tuple[int, ...]:
    """The sizes that the experiment's server would compile with this `max_size`."""
    batching = experiment.server.batching
    if size == batching.max_size:
        return tuple(batching.bucket_sizes())
    return BatchingSettings(max_size=size).bucket_sizes()


def _measured(
    model: str,
    experiment: Experiment,
    load: Load,
    tried: Sequence[Setting],
    rounds: int,
    seconds: float,
    say: Say,
) -> dict[Setting, list[Result]]:
    from corral.bench.stage import Stage  # psutil: not for the processes that only read the constants

    compiled = sorted({bucket for each in tried for bucket in buckets(experiment, each.max_size)})
    batching = {"timeout_us": 0, "max_size": compiled[-1], "buckets": compiled}
    results: dict[Setting, list[Result]] = {setting: [] for setting in tried}
    say("starting a server with the experiment's agent")
    with Stage(model, load, batching, floors=False) as stage:
        for number in range(rounds):
            # Back and forth, so that a machine that grows slower or faster favours nobody.
            for setting in tried if number % 2 == 0 else reversed(tried):
                done = sum(map(len, results.values()))
                text = f"measuring timeout {setting.timeout_us} us, max_size {setting.max_size}"
                say(text, done, rounds * len(tried))
                _change(stage.address, setting, buckets(experiment, setting.max_size))
                results[setting].append(stage.measure(seconds))
    return results


def _change(address: str, setting: Setting, buckets: Sequence[int]) -> None:
    table = {"timeout_us": setting.timeout_us, "max_size": setting.max_size, "buckets": list(buckets)}
    changed = change_settings(address, {f"server.batching.{name}": value for name, value in table.items()})
    if changed is None:
        raise TimeoutError("the server that is measured does not answer any more")


def _found(setting: Setting, results: Sequence[Result]) -> Found:
    typical = median(results)
    rates = tuple(result.rows_per_s for result in results)
    return Found(setting, rates, typical.mean_batch, typical.p50_ms, typical.p99_ms)
