"""What the agents' tests share: a quiet backend, gradients on either one, and small unrolls."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

from corral.agents.agent import Agent
from corral.agents.settings import AgentSettings, NetworkSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import TIME_SPEC, StepType, Unroll

OBSERVATION = {"observation": TensorSpec((4,), "float32")}
ACTION = TensorSpec((), "int64", 0, 1)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(7)


@pytest.fixture
def cartpole():
    """Observations and actions: `(Spec, TensorSpec)`."""
    return OBSERVATION, ACTION


@pytest.fixture
def small_agent() -> VTraceAgent:
    settings = AgentSettings(unroll_length=3, network=NetworkSettings(hidden=(8,)))
    return VTraceAgent(settings, OBSERVATION, ACTION)


@pytest.fixture
def make_unroll():
    return _make_unroll


def _make_unroll(agent: Agent, batch: int, seed: int = 0) -> Unroll:
    """An unroll of random numbers that breaks no rule of `Unroll`: every step is MID."""
    rng = np.random.default_rng(seed)
    spec, indices = agent.spec, agent.spec.unroll_length + 1
    observation = {
        name: rng.standard_normal((indices, batch, *leaf.shape)).astype(leaf.dtype)
        for name, leaf in spec.observation.items()
    }
    output = {name: leaf.zeros(indices, batch) for name, leaf in spec.outputs.items()}
    output["action"][:] = rng.integers(0, spec.action.num_values, (indices, batch))
    output["log_prob"][:] = np.log(1 / spec.action.num_values)
    times = {name: leaf.zeros(indices, batch) for name, leaf in TIME_SPEC.items()}
    times["reward"][:] = rng.standard_normal((indices, batch))
    times["discount"][:] = 1.0
    times["step_type"][:] = StepType.MID
    return Unroll(observation, output, **times, state={})


def gradient_of(function: Callable[[], Any], variable: keras.Variable) -> np.ndarray:
    """The gradient of what `function` returns, a scalar; zeros where it does not depend on the variable."""
    if keras.backend.backend() == "jax":
        import jax

        def of(value: Any) -> Any:
            with keras.StatelessScope([(variable, value)]):
                return function()

        return np.asarray(jax.grad(of)(variable.value))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        result = function()
    return tape.gradient(result, variable.value, unconnected_gradients="zero").numpy()
