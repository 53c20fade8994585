"""Trains agents on one device and on two, and tells how far apart they end.

`python -m tests.agents.backend.sharing [AGENT ...]`

A process of its own, since two processors have to be told apart before anything is computed. Prints JSON: agent ->
`[largest difference of any figure, largest difference of any weight, how far the weights have moved]`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import keras
import numpy as np

from corral.agents import AgentSettings, NetworkSettings, OptimizerSettings, build_agent, load_backend
from corral.agents.agent import Agent
from corral.agents.settings import PPOSettings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import TIME_SPEC, StepType, Unroll
from tests.support.virtual_devices import virtual_processors

STEPS, BATCH = 5, 8
OBSERVATION = {"observation": TensorSpec((4,), "float32")}
DISCRETE = TensorSpec((), "int64", 0, 2)
VECTOR = TensorSpec((2,), "float32", -1.0, 1.0)
PLAIN = NetworkSettings(hidden=(16,))
AGENTS: dict[str, Callable[[], Agent]] = {
    # Observations are normalised by what the whole batch shows; the core is called once for each index.
    "vtrace": lambda: _agent("vtrace", DISCRETE, NetworkSettings(hidden=(16,), normalize=True, core="lstm")),
    "ppo": lambda: _agent("ppo", DISCRETE, PLAIN, ppo=PPOSettings(epochs=2, minibatches=2)),
    "dqn": lambda: _agent("dqn", DISCRETE, PLAIN),
    "sac": lambda: _agent("sac", VECTOR, PLAIN),
}


def _agent(name: str, action: TensorSpec, network: NetworkSettings, **more: PPOSettings) -> Agent:
    keras.utils.set_random_seed(3)
    return build_agent(AgentSettings(name=name, unroll_length=6, network=network, **more), OBSERVATION, action)  # type: ignore[arg-type]


def unroll(agent: Agent, seed: int) -> Unroll:
    """Random numbers, of which some sequences end and begin again: means over a part are not those over all."""
    rng, spec = np.random.default_rng(seed), agent.spec
    indices = spec.sample_length + 1
    observation = {n: rng.normal(2, 3, (indices, BATCH, *s.shape)).astype(s.dtype) for n, s in OBSERVATION.items()}
    output = {name: leaf.zeros(indices, BATCH) for name, leaf in spec.outputs.items()}
    if output["action"].dtype.kind == "i":
        output["action"][:] = rng.integers(0, 3, output["action"].shape)
    else:
        output["action"][:] = rng.uniform(-1, 1, output["action"].shape)
    if "log_prob" in output:
        output["log_prob"][:] = -1.1
    times = {name: leaf.zeros(indices, BATCH) for name, leaf in TIME_SPEC.items()}
    times["reward"][:] = rng.normal(size=(indices, BATCH))
    times["discount"][:] = 1.0
    times["step_type"][:] = StepType.MID
    times["step_type"][1, :3], times["discount"][1, :3] = StepType.LAST, 0
    times["step_type"][2:3, :3] = StepType.FIRST  # a transition alone has no third index
    state = {name: rng.normal(size=(BATCH, *leaf.shape)).astype(leaf.dtype) for name, leaf in spec.state.items()}
    return Unroll(observation, output, **times, state=state)


def compare(make: Callable[[], Agent]) -> list[float]:
    """One agent, trained alike on one device and on two; the second goes on half-way from the first's state."""
    figures, states = [], []
    for devices in (1, 2):
        agent = make()
        trainer = load_backend().Trainer(agent, OptimizerSettings(learning_rate=0.01), devices)
        assert trainer.devices == devices
        begun = {name: leaf.copy() for name, leaf in trainer.state().items()}
        trainer.warm(BATCH)
        np.random.seed(5)
        steps = [trainer.step(unroll(agent, seed)) for seed in range(STEPS)]
        assert all(step.metrics["finite"] for step in steps)
        figures.append(np.array([[*step.metrics.values(), *(step.priorities if step.priorities is not None else [])]
                                 for step in steps]))  # fmt: skip
        states.append(trainer.state())
    one, two = states
    # A checkpoint of either is one of the other.
    other = load_backend().Trainer(make(), OptimizerSettings(learning_rate=0.01), 1)
    other.restore(two)
    trainer.restore(one)
    np.random.seed(6)
    batch = unroll(agent, 99)
    ends = []
    for each in (trainer, other):
        np.random.seed(6)
        ends.append(each.step(batch).metrics["finite"])
    assert ends == [1.0, 1.0]
    floats = [name for name, leaf in one.items() if leaf.dtype.kind == "f"]
    assert [name for name in one if name not in floats and not np.array_equal(one[name], two[name])] == []
    return [
        float(np.max(np.abs(figures[0] - figures[1]) / np.maximum(1.0, np.abs(figures[0])))),
        max(float(np.max(np.abs(one[name] - two[name]), initial=0)) for name in floats),
        max(
            float(np.max(np.abs(one[name] - begun[name]), initial=0))
            for name in floats
            if name.startswith("nets/") and "norm" not in name
        ),
    ]


if __name__ == "__main__":
    virtual_processors(2)
    print(json.dumps({name: compare(AGENTS[name]) for name in sys.argv[1:] or AGENTS}))
