"""Training, whatever the backend: batches, minibatches and epochs, what is checked, what is reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from corral.agents.agent import Agent, AgentSpec, Batch, Losses, Tensor
from corral.agents.backend.devices import share_of
from corral.agents.backend.replica import Function
from corral.agents.backend.variables import Variables
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import TIME_SPEC, Unroll

V = TypeVar("V")


class Step(NamedTuple):
    """What came of a step of training.

    Attributes:
      metrics: the agent's metrics, each group's "loss" and "grad_norm" (before clipping; led by the group's name
        and "/" where there are several), "learning_rate", and "finite": 0.0 where it was refused. Means over
        minibatches.
      priorities: float32 `[B]`, where the agent gives any.
    """

    metrics: dict[str, float]
    priorities: np.ndarray | None


class TrainerBase(ABC):
    """Trains an agent's nets: one compiled step, one optimizer for each of the agent's groups.

    A backend's own sets `_published`, `_everything` (named as `name_everything` does) and `_step`.

    Args:
      agent: what to train; its nets' variables are the ones that change.
      devices: how many share each step; more than one take even parts of each minibatch.

    Raises:
      ValueError: the agent has nothing to train.
    """

    _published: Variables
    _everything: Variables
    _step: Any

    def __init__(self, agent: Agent, devices: int = 1) -> None:
        if not agent.groups:
            raise ValueError(f"{type(agent).__name__} has no nets to train: it only predicts")
        self.agent = agent
        self.devices = devices
        self._functions: dict[int, Function] = {}
        self._preparing: dict[int, Function] = {}
        self._metrics: list[str] = []

    @property
    def weight_spec(self) -> Spec:
        """Shape and dtype of each of the `weights`, by "net/variable"."""
        return self._published.spec

    def weights(self) -> dict[str, np.ndarray]:
        """The published nets' weights: a read-only snapshot."""
        return self._published.read()

    @property
    def state_spec(self) -> Spec:
        """Name -> shape and dtype of what `state` returns."""
        return self._everything.spec

    def state(self) -> dict[str, np.ndarray]:
        """All that training goes on from: the variables of nets, slow copies and optimizers, and the step."""
        return self._everything.read()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from what `state` returned.

        Raises:
          ValueError: names, shapes or dtypes differ from `state_spec`; nothing has changed.
        """
        self._everything.write(state)

    @property
    def steps(self) -> int:
        """Optimizer steps taken, those refused not counted."""
        return int(self._step)

    def warm(self, batch: int) -> None:
        """Compiles all that batches of `batch` sequences need.

        Raises:
          ValueError: they cannot be cut into the agent's minibatches, or those not shared evenly by the devices.
        """
        self._function(self._part(batch))
        if self.agent.spec.prepared:
            self._preparation(batch)

    def step(self, unroll: Unroll, weights: np.ndarray | None = None) -> Step:
        """Trains on one batch, as many times as the agent says.

        A step whose loss or gradient is not finite changes nothing, and says so.

        Args:
          unroll: numpy arrays, of `spec.sample_length` transitions.
          weights: float32 `[B]`: what each sequence counts; None counts all alike.

        Raises:
          ValueError: the sequences are of another length than the agent's, or cannot be cut into its minibatches,
            or those not shared evenly by the devices.
        """
        spec, size = self.agent.spec, unroll.reward.shape[1]
        if len(unroll.reward) != spec.sample_length + 1:
            raise ValueError(
                f"the agent takes unrolls of {spec.sample_length + 1} indices (T + 1), not {len(unroll.reward)}"
            )
        arrays = [*_flatten(unroll), np.ones(size, np.float32) if weights is None else weights]
        if spec.prepared:
            arrays = [*self._preparation(size)([*arrays, _noise(spec, size)]), *arrays]
        elif spec.minibatches == spec.epochs == 1:
            return self._taken(self._function(size)([*arrays, _noise(spec, size)]))
        return self._gone_through(arrays, size)

    def _gone_through(self, arrays: Sequence[np.ndarray], size: int) -> Step:
        """One batch in minibatches, again and again; its priorities are those of the last time."""
        spec = self.agent.spec
        axes = self._axes()
        part = self._part(size)
        function, taken = self._function(part), []
        priorities: np.ndarray | None = None
        for _ in range(spec.epochs):
            order = np.random.permutation(size)
            for start in range(0, size, part):
                chosen = order[start : start + part]
                columns = [leaf.take(chosen, axis) for leaf, axis in zip(arrays, axes, strict=False)]
                taken.append(self._taken(function([*columns, _noise(spec, part)])))
                if taken[-1].priorities is not None:
                    priorities = np.zeros(size, np.float32) if priorities is None else priorities
                    priorities[chosen] = taken[-1].priorities
        names = taken[0].metrics
        metrics = {name: float(np.mean([each.metrics[name] for each in taken])) for name in names}
        metrics["finite"] = min(each.metrics["finite"] for each in taken)
        return Step(metrics, priorities)

    def _part(self, batch: int) -> int:
        """The size of a minibatch. Raises ValueError where a batch cannot be cut into the agent's."""
        parts = self.agent.spec.minibatches
        if batch < 1 or batch % parts:
            raise ValueError(f"a batch of {batch} cannot be cut into {parts} minibatches of one size")
        share_of(batch // parts, self.devices)
        return batch // parts

    def _axes(self, *, prepared: bool = True) -> list[int]:
        """The axis of the sequences in each array of a step, `[B, ...]` or `[T, B, ...]`; or of a preparation."""
        spec = self.agent.spec
        before = len(spec.prepared) * prepared + len(spec.observation) + len(spec.outputs) + len(TIME_SPEC)
        return [1] * before + [0] * (len(spec.state) + 1) + [1]

    def _taken(self, results: Sequence[np.ndarray]) -> Step:
        packed, *priorities = results
        metrics = dict(zip(self._metrics, packed.tolist(), strict=True))
        return Step(metrics, priorities[0] if priorities else None)

    @abstractmethod
    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        """The training step for arrays like these, run once on them; it returns packed metrics, and priorities."""

    @abstractmethod
    def _compile_preparation(self, examples: Sequence[np.ndarray]) -> Function:
        """`Agent.prepare` for arrays like these, run once on them."""

    def _function(self, size: int) -> Function:
        function = self._functions.get(size)
        if function is None:
            # No reward is a number here, so the first run compiles everything and refuses itself.
            spec = self.agent.spec
            prepared = [_no_numbers(leaf, spec.sample_length, size) for leaf in spec.prepared.values()]
            function = self._functions[size] = self._compile([*prepared, *_refused(self.agent, size)])
        return function

    def _preparation(self, size: int) -> Function:
        function = self._preparing.get(size)
        if function is None:
            function = self._preparing[size] = self._compile_preparation(_refused(self.agent, size))
        return function

    def _report(
        self, losses: Losses, norms: Mapping[str, Tensor], learning_rate: Tensor, finite: Tensor
    ) -> list[Tensor]:
        """The scalars that a step packs, in the order of their names, which are kept."""
        reported = dict(losses.metrics)
        for group in self.agent.groups:
            lead = "" if len(self.agent.groups) == 1 else f"{group}/"
            reported |= {f"{lead}loss": losses.groups[group], f"{lead}grad_norm": norms[group]}
        reported |= {"learning_rate": learning_rate, "finite": finite}
        self._metrics = list(reported)
        return list(reported.values())


def name_everything(
    nets: Mapping[str, V], targets: Mapping[str, V], optimizers: Mapping[str, Mapping[str, V]], step: V
) -> dict[str, V]:
    """All that training goes on from, under the names of a checkpoint."""
    named = {f"nets/{name}": variable for name, variable in nets.items()}
    named |= {f"targets/{name}": variable for name, variable in targets.items()}
    for group, variables in optimizers.items():
        named |= {f"optimizers/{group}/{name}": variable for name, variable in variables.items()}
    return {**named, "step": step}


def as_batch(spec: AgentSpec, arrays: Sequence[Tensor], step: Tensor, *, prepared: bool = True) -> Batch:
    """The batch whose arrays a training step, or with `prepared=False` a preparation, is given."""
    rest = iter(arrays)
    made = {name: next(rest) for name in spec.prepared} if prepared else {}
    observation = {name: next(rest) for name in spec.observation}
    output = {name: next(rest) for name in spec.outputs}
    times = {name: next(rest) for name in TIME_SPEC}
    state = {name: next(rest) for name in spec.state}
    weights, noise = rest
    return Batch(Unroll(observation, output, **times, state=state), made, weights, noise, step)


def _flatten(unroll: Unroll) -> list[np.ndarray]:
    """An unroll's arrays in a fixed order."""
    times = [unroll.reward, unroll.discount, unroll.step_type, unroll.version]
    return [*unroll.observation.values(), *unroll.output.values(), *times, *unroll.state.values()]


def _noise(spec: AgentSpec, size: int) -> np.ndarray:
    # numpy's global generator, since its state is kept in checkpoints.
    return np.random.random_sample((spec.sample_length + 1, size, spec.train_noise)).astype(np.float32)


def _refused(agent: Agent, batch: int) -> list[np.ndarray]:
    """A batch of zeros whose rewards and weights are no numbers: a training step refuses it and changes nothing."""
    spec, indices = agent.spec, agent.spec.sample_length + 1
    weights = _no_numbers(TensorSpec((), "float32"), batch)
    unroll = spec.zeros(batch)._replace(reward=_no_numbers(TIME_SPEC["reward"], indices, batch))
    return [*_flatten(unroll), weights, np.zeros((indices, batch, spec.train_noise), np.float32)]


def _no_numbers(leaf: TensorSpec, *leading: int) -> np.ndarray:
    """NaN everywhere; zeros where the leaf is none that knows it."""
    array = leaf.zeros(*leading)
    if array.dtype.kind == "f":
        array[...] = np.nan
    return array
