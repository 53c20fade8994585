"""Acting, whatever the backend: in which order arrays go in and come out, and what is compiled when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from corral.agents.agent import Agent, AgentSpec, Call, Tensor
from corral.agents.backend.precision import in_float32
from corral.agents.backend.variables import Variables
from corral.agents.settings import Precision
from corral.protocol.specs import Spec, TensorSpec

Function: TypeAlias = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Something compiled for the shapes and dtypes of its arrays; what it returns stays valid."""


class ReplicaBase(ABC):
    """One replica of an agent's policy: `Agent.act`, compiled for each bucket.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      variables: the replica's own.
      precision: what its nets compute in.
    """

    def __init__(
        self, agent: Agent, buckets: Sequence[int], variables: Variables, precision: Precision = "float32"
    ) -> None:
        self.agent = agent
        self.precision = precision
        self.buckets = tuple(buckets)
        self.traces = 0
        """How many times `act` has been compiled; stays as it is once every bucket is warm."""
        self._variables = variables
        self._functions: dict[int, Function] = {}
        self._outputs = tuple(agent.spec.outputs)
        self._state = tuple(agent.spec.state)

    @property
    def weight_spec(self) -> Spec:
        """Shape and dtype of each of the `weights`, by "net/variable"."""
        return self._variables.spec

    def weights(self) -> dict[str, np.ndarray]:
        """The replica's weights, by the names of `weight_spec`."""
        return self._variables.read()

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Takes these weights. Not while a call runs.

        Raises:
          ValueError: names, shapes or dtypes differ from `weight_spec`; nothing has changed.
        """
        self._variables.write(weights)

    def warm(self, progress: Callable[[int], None] | None = None) -> None:
        """Compiles every bucket, smallest first, and calls `progress(bucket)` after each."""
        for rows in self.buckets:
            self.warm_bucket(rows)
            if progress is not None:
                progress(rows)

    def warm_bucket(self, rows: int) -> None:
        """Compiles `act` for batches of `rows` and runs it once."""
        if rows not in self._functions:
            with self._refusing():
                self._functions[rows] = self._compile([leaf.zeros(rows) for leaf in _act_inputs(self.agent.spec)])

    def __call__(
        self,
        rows: int,
        observation: Mapping[str, np.ndarray],
        state: Mapping[str, np.ndarray],
        first: np.ndarray,
        noise: np.ndarray,
        explore: np.ndarray,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """`Agent.act` on arrays that are padded to a bucket of `rows`, with the dtypes of the spec.

        Returns:
          Outputs and next state: arrays `[rows, ...]` that stay valid, and may be read-only.
        """
        if rows not in self._functions:
            self.warm_bucket(rows)
        spec = self.agent.spec
        leaves = [observation[name] for name in spec.observation]
        leaves += [state[name] for name in self._state]
        results = self._functions[rows]([*leaves, first, noise, explore])
        split = len(self._outputs)
        return (
            dict(zip(self._outputs, results[:split], strict=True)),
            dict(zip(self._state, results[split:], strict=True)),
        )

    @abstractmethod
    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        """`_act` on the replica's variables, for arrays like these, run once on them."""

    def _act(self, call: Call, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs and the next state, in the spec's order."""
        spec = self.agent.spec
        if self.precision != "float32":
            call = in_float32(call)
        *leaves, first, noise, explore = inputs
        observation = dict(zip(spec.observation, leaves, strict=False))
        state = dict(zip(spec.state, leaves[len(spec.observation) :], strict=True))
        outputs, state = self.agent.act(call, observation, state, first, noise, explore)
        return [*(outputs[name] for name in self._outputs), *(state[name] for name in self._state)]

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Has what goes wrong while `act` is compiled in another precision be said in the words of settings."""
        try:
            yield
        except Exception as error:  # backends, and layers of the user's own, may fail in any way
            if self.precision == "float32":
                raise
            text = " ".join(str(error).split())
            raise ValueError(
                f"the policy cannot act in {self.precision}: {type(error).__name__}: {text}"
            ) from error


def _act_inputs(spec: AgentSpec) -> list[TensorSpec]:
    first, noise = TensorSpec((), "bool"), TensorSpec((spec.noise,), "float32")
    explore = TensorSpec((spec.explore,), "float32")
    return [*spec.observation.values(), *spec.state.values(), first, noise, explore]
