"""The agent: what a server needs to act with a policy, and a learner to train it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import keras
import numpy as np

from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import TIME_SPEC, Unroll

Tensor: TypeAlias = Any
"""A tensor of the Keras backend."""
Tensors: TypeAlias = dict[str, Tensor]
"""Leaf name -> tensor."""


class Call(Protocol):
    """Applies one of an agent's nets: `call("policy", observation)`.

    An agent never touches its nets' variables itself, so whoever calls it chooses them: a server passes
    the replica that serves, a learner the nets it trains, or their slow copies. With `training` a net may
    update what it keeps beside its weights, such as running means; gradients flow either way.
    """

    def __call__(self, name: str, *inputs: Any, training: bool = False) -> Any: ...


class Group(NamedTuple):
    """Nets that one optimizer trains on one loss.

    Attributes:
      nets: their names.
      every: training steps from one update to the next (TD3's delay).
      rate: learning rate, as a multiple of the optimizer's.
    """

    nets: tuple[str, ...]
    every: int = 1
    rate: float = 1.0


class Target(NamedTuple):
    """How the slow copy of a net follows it.

    Attributes:
      rate: share of the way that it goes at once (Polyak averaging); 1 copies.
      every: training steps from one time to the next.
    """

    rate: float = 0.005
    every: int = 1


class Batch(NamedTuple):
    """What an agent learns from at once.

    Attributes:
      unroll: tensors, time-major, of `spec.sample_length` transitions.
      prepared: what `prepare` made of it: leaf name -> `[spec.sample_length, B, ...]`.
      weights: float32 `[B]`: what each sequence counts, where replay draws some more often than others; else 1.
      noise: float32 `[spec.sample_length + 1, B, spec.train_noise]`, uniform in [0, 1).
      step: int64 scalar: training steps taken so far.
    """

    unroll: Unroll
    prepared: Mapping[str, Tensor]
    weights: Tensor
    noise: Tensor
    step: Tensor


class Losses(NamedTuple):
    """What an agent makes of a batch.

    Attributes:
      groups: group -> scalar loss.
      metrics: name -> scalar.
      priorities: float32 `[B]`: how much is still to be learned from each sequence; None where nobody asks.
    """

    groups: Tensors
    metrics: Tensors
    priorities: Tensor | None = None


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
    """Transitions in the unrolls that servers send (T)."""
    overlap: int = 1
    """Indices that an unroll shares with the next one of its environment: 1, or so many that every transition can
    begin a sample."""
    sample_length: int = 0
    """Transitions in the sequences that `losses` takes; 0: whole unrolls."""
    context: int = 0
    """Indices at the start of a sequence that only come before it: what is learned begins behind them."""
    burn_in: int = 0
    """Transitions at the start of a sequence that only warm the recurrent state."""
    train_noise: int = 0
    """Uniform numbers in [0, 1) that each index of a batch takes in `losses`."""
    prepared: Spec = field(default_factory=dict)
    """Leaves that `prepare` returns, one row of each."""
    epochs: int = 1
    """Times that a batch is gone through."""
    minibatches: int = 1
    """Parts of a batch that are trained on one after the other, each time in another order."""
    replay: bool = False
    """Whether it learns from steps of long ago, drawn again and again."""

    def __post_init__(self) -> None:
        if not self.sample_length:
            object.__setattr__(self, "sample_length", self.unroll_length)

    def zeros(self, batch: int) -> Unroll:
        """`batch` sequences as a training step takes them, with nothing but zeros in them: numpy arrays."""

        def over_time(leaves: Spec) -> dict[str, np.ndarray]:
            return {name: leaf.zeros(self.sample_length + 1, batch) for name, leaf in leaves.items()}

        state = {name: leaf.zeros(batch) for name, leaf in self.state.items()}
        return Unroll(over_time(self.observation), over_time(self.outputs), **over_time(TIME_SPEC), state=state)


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
    def groups(self) -> Mapping[str, Group]:
        """Optimizer groups by name. Each has its own loss and its own optimizer; no net is in two."""
        ...

    @property
    def targets(self) -> Mapping[str, Target]:
        """Net -> how its slow copy follows it, for the nets that have one."""
        ...

    def exploration(self, environment: np.ndarray) -> np.ndarray:
        """How much each environment explores, float32 `[n, spec.explore]`; zeros are greedy.

        Args:
          environment: int64 `[n]`: run-wide numbers.
        """
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

    def prepare(self, call: Call, target: Call, batch: Batch) -> Tensors:
        """What `losses` needs of a whole batch before its minibatches change the nets: leaves of `spec.prepared`.

        Args:
          call: applies a net.
          target: applies the slow copy of a net.
          batch: everything but `prepared`.
        """
        ...

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """A scalar loss for each group.

        Args:
          call: applies a net; the gradient of a group's loss is taken for that group's nets alone.
          target: applies the slow copy of a net.
          batch: tensors.
        """
        ...

    def policy(self) -> keras.Model:
        """The trained policy as a model by itself, to save and to serve: observation leaves in, a dictionary out
        with the greedy "action" where there is one. Shares its weights with `nets`."""
        ...


class AgentBase:
    """What most agents have in common: a recurrent state, if any, that begins with zeros, the policy as it is
    everywhere, nothing prepared, no slow copies."""

    spec: AgentSpec
    targets: Mapping[str, Target] = {}

    def initial_state(self, batch: int) -> dict[str, Any]:
        """Zeros."""
        return {name: leaf.zeros(batch) for name, leaf in self.spec.state.items()}

    def exploration(self, environment: np.ndarray) -> np.ndarray:
        """The policy as it is, everywhere: ones."""
        return np.ones((len(environment), self.spec.explore), np.float32)

    def prepare(self, call: Call, target: Call, batch: Batch) -> Tensors:
        """Nothing."""
        return {}
