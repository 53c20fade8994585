"""How long the user's own environments take: the time that an actor thinks from an answer to its next request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corral.bench.child import Message, Wire
from corral.protocol import TensorSpec

MEASURED_S = 2.0
_DRAWN = 97
"""Actions drawn for each environment before the clock starts; then they come again."""


@dataclass(frozen=True)
class Think:
    """One actor's environments, stepped together and alone on the machine.

    Attributes:
      step_s: seconds of one step of all of them, on average, resets included.
      computing: the share of it in which this process used a processor; more than 1 with several threads.
      steps: how many were measured.
    """

    step_s: float
    computing: float
    steps: int


def measure_think(experiment: Path, seconds: float = MEASURED_S) -> Think:
    """Make the environments of one actor of an experiment in a process of their own, and step them for a while.

    Raises:
      UserError: they cannot be made or stepped; the text says why.
    """
    from corral.bench.processes import BenchProcess

    with BenchProcess(role="environment", cores=[], experiment=str(experiment), seconds=seconds) as process:
        return Think(**process.hear())


def host_environment(settings: Message, wire: Wire) -> None:
    """Step with random actions and tell how long it took. The child's side of `measure_think`."""
    from actor_client.environments import make_group
    from corral.launch.experiment import load_experiment

    experiment = load_experiment(Path(settings["experiment"]))
    random = np.random.default_rng(experiment.run.seed)
    group = make_group(experiment.environment, experiment.actor.environments)
    rows = group.reset([int(seed) for seed in random.integers(0, 2**31, group.size)])
    drawn = random_actions(group.action, _DRAWN * group.size, random)
    actions = drawn.reshape(_DRAWN, group.size, *group.action.shape)
    # What the first step sets up, it does not do again.
    rows = group.step(rows.environment, actions[0][rows.environment])
    start, used, steps = time.perf_counter(), time.process_time(), 0
    while not steps or time.perf_counter() - start < settings["seconds"]:
        rows = group.step(rows.environment, actions[steps % _DRAWN][rows.environment])
        steps += 1
    taken, used = time.perf_counter() - start, time.process_time() - used
    group.close()
    wire.tell(step_s=taken / steps, computing=used / taken, steps=steps)


def random_actions(spec: TensorSpec, rows: int, random: np.random.Generator) -> np.ndarray:
    """Actions within their bounds, `[rows, ...]`, every one as likely; where there is no bound, of about size 1."""
    dtype, shape = np.dtype(spec.dtype), (rows, *spec.shape)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    low, high = _finite_bounds(spec)
    if dtype.kind == "f":
        return random.uniform(low, high, shape).astype(dtype)
    return random.integers(low.astype(dtype), high.astype(dtype), shape, dtype, endpoint=True)


def _finite_bounds(spec: TensorSpec) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most of each element, `spec.shape`; where there is no bound, 2 from the other one."""
    lows, highs = spec.bounds
    unsigned = np.dtype(spec.dtype).kind == "u"
    lows = np.where(np.isfinite(lows), lows, np.where(np.isfinite(highs), highs - 2, 0 if unsigned else -1))
    return lows, np.where(np.isfinite(highs), highs, lows + 2)
