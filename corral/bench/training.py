"""How long a learner takes for one training step of an experiment, and what its messages weigh."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corral.bench.child import Message, Wire

if TYPE_CHECKING:
    from corral.agents import AgentSpec

MEASURED_S = 3.0


@dataclass(frozen=True)
class Training:
    """One learner's training step, alone on the machine, and the bytes behind it.

    Attributes:
      step_s: seconds of a training step, the median.
      cores: processors that it keeps busy.
      steps: environment steps that it uses up: those of a batch, or of a replay those that may come in for it.
      unrolled_bytes: of unrolls, for each environment step.
      weights_bytes: of a policy version.
    """

    step_s: float
    cores: float
    steps: float
    unrolled_bytes: float
    weights_bytes: float

    @property
    def steps_per_s(self) -> float:
        """Environment steps that may come in each second."""
        return self.steps / self.step_s


def measure_training(experiment: Path, seconds: float = MEASURED_S) -> Training:
    """Train an experiment's agent on zeros in a process of its own, for a while.

    Raises:
      UserError: the agent cannot be made; the text says why.
    """
    from corral.bench.processes import BenchProcess

    with BenchProcess(role="training", cores=[], experiment=str(experiment), seconds=seconds) as process:
        return Training(**process.hear())


def host_training(settings: Message, wire: Wire) -> None:
    """Train and tell how long it took. The child's side of `measure_training`."""
    from corral.launch.experiment import load_experiment
    from corral.launch.quiet import import_keras
    from corral.launch.threads import choose_threads_for

    experiment = load_experiment(Path(settings["experiment"]))
    choose_threads_for(experiment)
    import_keras()
    from corral.agents import load_backend, weights_of
    from corral.agents.weights import published_nets
    from corral.launch.roles import agent_of

    agent = agent_of(experiment)
    batch, spec = experiment.learner.batch_unrolls, agent.spec
    trainer = load_backend().Trainer(agent, experiment.agent.optimizer)
    trainer.warm(batch)
    unroll = spec.zeros(batch)
    trainer.step(unroll)
    taken: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    while not taken or time.perf_counter() - began < settings["seconds"]:
        before = time.perf_counter()
        trainer.step(unroll)
        taken.append(time.perf_counter() - before)
    whole, used = time.perf_counter() - began, time.process_time() - used
    fresh = spec.unroll_length + 1 - spec.overlap
    # Of a replay, each sequence that an unroll begins is drawn so often (`learner.feed.ReplayFeed`).
    begun = spec.unroll_length - spec.sample_length + 1
    drawn = experiment.learner.replay.samples_per_insert * begun if spec.replay else 1.0
    published = weights_of(published_nets(agent))
    wire.tell(
        step_s=float(np.median(taken)),
        cores=used / whole,
        steps=batch * fresh / drawn,
        unrolled_bytes=_unroll_bytes(spec) / fresh,
        weights_bytes=float(sum(array.nbytes for array in published.values())),
    )


def _unroll_bytes(spec: AgentSpec) -> float:
    """Bytes of one unroll as it travels."""
    from corral.protocol.unrolls import unroll_spec

    parts = unroll_spec(spec.observation, spec.outputs, spec.state)
    each = {part: sum(leaf.nbytes for leaf in leaves.values()) for part, leaves in parts.items()}
    return float(each["time"] * (spec.unroll_length + 1) + each["state"])
