"""Unrolls: trajectories as they leave the server and enter the learner.

Time-major, in dm_env's sense: every observation takes its own index, a final observation too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from corral.protocol.specs import Spec, TensorSpec


class StepType(IntEnum):
    """Where in its episode an index stands (dm_env's step types)."""

    FIRST = 0
    MID = 1
    LAST = 2


class Unroll(NamedTuple):
    """`B` trajectories of `T` transitions: `T + 1` indices, the last one shared with the next unroll.

    Index `i` holds what arrived with the observation (reward, discount, step type) and what was then done
    (the outputs, `output["action"]` among them). The transition `i -> i + 1` earns `reward[i + 1]` and is
    discounted by `discount[i + 1]`; one that leaves a LAST index joins two episodes and is no transition.

    Attributes:
      observation: leaf name -> `[T + 1, B, ...]`.
      output: leaf name -> `[T + 1, B, ...]`: what the agent put out, as it put it out; zeros at LAST.
      reward: float32 `[T + 1, B]`, 0 at FIRST.
      discount: float32 `[T + 1, B]`: 0 at a LAST that terminated, else 1 (the agent's gamma is its own).
      step_type: uint8 `[T + 1, B]`, a `StepType`.
      version: int64 `[T + 1, B]`: the policy version that acted.
      state: leaf name -> `[B, ...]`: the recurrent state that precedes index 0.
    """

    observation: Mapping[str, Any]
    output: Mapping[str, Any]
    reward: Any
    discount: Any
    step_type: Any
    version: Any
    state: Mapping[str, Any]


TIME_SPEC: Spec = {
    "reward": TensorSpec((), "float32"),
    "discount": TensorSpec((), "float32"),
    "step_type": TensorSpec((), "uint8"),
    "version": TensorSpec((), "int64"),
}
"""What every unroll stores at each index beside observations and outputs."""
