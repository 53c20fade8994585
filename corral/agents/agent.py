"""The agent: what a server needs to act with a policy, and a learner to train it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import keras

from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import Unroll

Tensor: TypeAlias = Any
"""A tensor of the Keras backend."""
Tensors: TypeAlias = dict[str, Tensor]
"""Leaf name -> tensor."""


class Call(Protocol):
    """Applies one of an agent's nets: `call("policy", observation)`.

    An agent never touches its nets' variables itself, so whoever calls it chooses them: a server passes
    the replica that serves, a learner the nets it trains.
    """

    def __call__(self, name: str, *inputs: Any) -> Any: ...


@dataclass(frozen=True)
class AgentSpec:
    """What goes into an agent and what comes out, one row of each: no batch dimension."""

    observation: Spec
    """Leaves of an observation."""
    action: TensorSpec | None
    """What an environment takes; None for a model that only predicts."""
    outputs: Spec
    """What `act` returns; "action" comes first where there is one."""
    state: Spec = field(default_factory=dict)
    """Leaves of the recurrent state; empty where the policy has none."""
    noise: int = 0
    """Uniform numbers in [0, 1) that a row of `act` takes."""
    explore: int = 0
    """Exploration numbers that a row of `act` takes."""
    unroll_length: int = 1
    """Transitions in the unrolls that `losses` takes (T)."""


class Agent(Protocol):
    """A policy and the way it learns, as pure functions in `keras.ops`."""

    @property
    def spec(self) -> AgentSpec:
        """What goes in and out."""
        ...

    @property
    def nets(self) -> Mapping[str, keras.Model]:
        """Every net the agent calls, by name."""
        ...

    @property
    def published(self) -> tuple[str, ...]:
        """The nets that `act` calls: what a learner publishes to servers."""
        ...

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Optimizer group -> the nets it trains. Each group has its own loss and its own optimizer."""
        ...

    def initial_state(self, batch: int) -> dict[str, Any]:
        """The recurrent state before an episode's first observation: arrays `[batch, ...]`."""
        ...

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Outputs and the next state of each row. No row depends on another.

        Args:
          call: applies a net.
          observation: leaf name -> `[B, ...]`.
          state: leaf name -> `[B, ...]`, already reset where `first` holds.
          first: bool `[B]`: the observation begins an episode.
          noise: float32 `[B, spec.noise]`, uniform in [0, 1).
          explore: float32 `[B, spec.explore]`.
        """
        ...

    def losses(self, call: Call, unroll: Unroll, step: Tensor) -> tuple[Tensors, Tensors]:
        """Group -> scalar loss, and metric name -> scalar.

        Args:
          call: applies a net; gradients flow through it.
          unroll: tensors, time-major, of `spec.unroll_length` transitions.
          step: int64 scalar: training steps taken so far.
        """
        ...

    def policy(self) -> keras.Model:
        """The trained policy as a model by itself, to save and to serve: observation leaves in, a dictionary out
        with the greedy "action" where there is one. Shares its weights with `nets`."""
        ...
