"""Unrolls: trajectories as they leave the server and enter the learner.

Time-major, in dm_env's sense: every observation takes its own index, a final observation too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

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

Leaves = dict[str, np.ndarray]
"""Unrolls side by side as they travel: "observation/...", "output/..." and the names of `TIME_SPEC`, each
`[T + 1, k, ...]`; "state/...", each `[k, ...]`."""


class Columns(Leaves):
    """Unrolls side by side as a server completes them.

    Attributes:
      steps: environment steps that they hold and no earlier unroll did.
    """

    def __init__(self, leaves: Leaves, steps: int) -> None:
        super().__init__(leaves)
        self.steps = steps


def unroll_spec(observation: Spec, output: Spec, state: Spec) -> dict[str, Spec]:
    """The specs of `Leaves`, in the order in which they travel: part "time", then part "state"."""
    time = {f"observation/{name}": leaf for name, leaf in observation.items()}
    time |= {f"output/{name}": leaf for name, leaf in output.items()}
    return {"time": time | dict(TIME_SPEC), "state": {f"state/{name}": leaf for name, leaf in state.items()}}


def unrolls_in(leaves: Leaves) -> int:
    """How many unrolls stand side by side."""
    return len(leaves["reward"][0])


def cut_columns(leaves: Leaves, start: int, stop: int) -> Leaves:
    """Unrolls `start` to `stop`, as views."""
    return {name: leaf[start:stop] if _axis(name) == 0 else leaf[:, start:stop] for name, leaf in leaves.items()}


def side_by_side(parts: list[Leaves]) -> Leaves:
    """All unrolls of `parts` in one."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts], _axis(name)) for name in parts[0]}


def to_unroll(leaves: Leaves) -> Unroll:
    """`leaves` under the names of `Unroll`."""

    def under(prefix: str) -> Leaves:
        return {name.removeprefix(prefix): leaf for name, leaf in leaves.items() if name.startswith(prefix)}

    scalars = {name: leaves[name] for name in TIME_SPEC}
    return Unroll(under("observation/"), under("output/"), state=under("state/"), **scalars)


def _axis(name: str) -> int:
    return 0 if name.startswith("state/") else 1
