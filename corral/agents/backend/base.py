"""What all backends have in common: in which order arrays go in, what is checked, what is reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import keras
import numpy as np

from corral.agents.agent import Agent, AgentSpec, Call, Tensor
from corral.agents.settings import OptimizerSettings
from corral.protocol.specs import Spec, TensorSpec, mismatch
from corral.protocol.unrolls import TIME_SPEC, Unroll

Function: TypeAlias = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Something compiled for the shapes and dtypes of its arrays; what it returns stays valid."""

V = TypeVar("V")


class Variables(Protocol):
    """Named variables that are read and written together."""

    @property
    def spec(self) -> Spec:
        """Name -> shape and dtype, in the order of `read`."""
        ...

    def read(self) -> dict[str, np.ndarray]:
        """A read-only snapshot of all values."""
        ...

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes copies of all values, or, where one does not fit, raises ValueError and takes none."""
        ...


class ReplicaBase(ABC):
    """One replica of an agent's policy: `Agent.act`, compiled for each bucket.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      variables: the replica's own.
    """

    def __init__(self, agent: Agent, buckets: Sequence[int], variables: Variables) -> None:
        self.agent = agent
        self.buckets = tuple(buckets)
        self.traces = 0
        """How many times `act` has been traced; stays as it is once every bucket is warm."""
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
        """What is traced: the outputs and the next state, in the spec's order."""
        self.traces += 1
        spec = self.agent.spec
        *leaves, first, noise, explore = inputs
        observation = dict(zip(spec.observation, leaves, strict=False))
        state = dict(zip(spec.state, leaves[len(spec.observation) :], strict=True))
        outputs, state = self.agent.act(call, observation, state, first, noise, explore)
        return [*(outputs[name] for name in self._outputs), *(state[name] for name in self._state)]


class TrainerBase(ABC):
    """Trains an agent's nets: one compiled step, one optimizer for each of the agent's groups.

    A backend's own sets `_published`, `_everything` (named as `name_everything` does) and `_step`.

    Args:
      agent: what to train; its nets' variables are the ones that change.

    Raises:
      ValueError: the agent has nothing to train.
    """

    _published: Variables
    _everything: Variables
    _step: Any

    def __init__(self, agent: Agent) -> None:
        if not agent.groups:
            raise ValueError(f"{type(agent).__name__} has no nets to train: it only predicts")
        self.agent = agent
        self._functions: dict[int, Function] = {}
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
        """All that training goes on from: every net's and optimizer's variables, and the count of steps."""
        return self._everything.read()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from what `state` returned.

        Raises:
          ValueError: names, shapes or dtypes differ from `state_spec`; nothing has changed.
        """
        self._everything.write(state)

    @property
    def steps(self) -> int:
        """Training steps taken, those refused not counted."""
        return int(self._step)

    def warm(self, batch: int) -> None:
        """Compiles the step for batches of `batch` unrolls."""
        self._function(batch)

    def step(self, unroll: Unroll) -> dict[str, float]:
        """One step of training on one batch of unrolls.

        A step whose loss or gradient is not finite changes nothing, and says so.

        Args:
          unroll: numpy arrays.

        Returns:
          The agent's metrics, each group's "loss" and "grad_norm" (before clipping; led by the group's
          name and "/" where there are several), "learning_rate", and "finite": 0.0 where it was refused.

        Raises:
          ValueError: the unrolls are of another length than the agent's.
        """
        indices = self.agent.spec.unroll_length + 1
        if len(unroll.reward) != indices:
            raise ValueError(f"the agent takes unrolls of {indices} indices (T + 1), not {len(unroll.reward)}")
        (packed,) = self._function(unroll.reward.shape[1])(_flatten(unroll))
        return dict(zip(self._metrics, packed.tolist(), strict=True))

    @abstractmethod
    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        """The training step for an unroll's arrays like these, run once on them; it returns packed metrics."""

    def _function(self, batch: int) -> Function:
        function = self._functions.get(batch)
        if function is None:
            # No reward is a number here, so the first run compiles everything and refuses itself.
            function = self._functions[batch] = self._compile(_flatten(_refused(self.agent, batch)))
        return function

    def _report(
        self,
        metrics: Mapping[str, Tensor],
        losses: Mapping[str, Tensor],
        norms: Mapping[str, Tensor],
        learning_rate: Tensor,
        finite: Tensor,
    ) -> list[Tensor]:
        """The scalars that a step packs, in the order of their names, which are kept."""
        reported = dict(metrics)
        for group, loss in losses.items():
            lead = "" if len(losses) == 1 else f"{group}/"
            reported |= {f"{lead}loss": loss, f"{lead}grad_norm": norms[group]}
        reported |= {"learning_rate": learning_rate, "finite": finite}
        self._metrics = list(reported)
        return list(reported.values())


def caller(nets: Mapping[str, keras.Model]) -> Call:
    """Applies nets in inference mode, when training too: the learner's policy must be the one that acted."""

    def call(name: str, *inputs: Any) -> Any:
        return nets[name](*inputs, training=False)

    return call


def check_fit(spec: Spec, values: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError where names, shapes or dtypes of `values` are not those of `spec`."""
    given = {name: TensorSpec(value.shape, value.dtype.name) for name, value in values.items()}
    if unknown := sorted(given.keys() ^ spec.keys()):
        raise ValueError(f"the weights differ in {', '.join(unknown)}: present on one side alone")
    if reason := mismatch(spec, {name: given[name] for name in spec}):
        raise ValueError(f"the weights do not fit: {reason}")


def make_optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """The Keras optimizer that the settings name; it works element by element and clips nothing."""
    rate: Any = settings.learning_rate
    if settings.decay_steps:
        rate = keras.optimizers.schedules.PolynomialDecay(
            rate, settings.decay_steps, settings.final_learning_rate, power=1.0
        )
    if settings.name == "adam":
        return keras.optimizers.Adam(rate, epsilon=settings.epsilon)
    if settings.name == "rmsprop":
        return keras.optimizers.RMSprop(rate, rho=0.99, epsilon=settings.epsilon)
    return keras.optimizers.SGD(rate)


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """All but a learning rate, which is the settings' to give; by position, as Keras' names vary."""
    variables = [v for v in optimizer.variables if not v.path.endswith("/learning_rate")]
    return {str(index): variable for index, variable in enumerate(variables)}


def name_everything(nets: Mapping[str, V], optimizers: Mapping[str, Mapping[str, V]], step: V) -> dict[str, V]:
    """All that training goes on from, under the names of a checkpoint."""
    named = {f"nets/{name}": variable for name, variable in nets.items()}
    for group, variables in optimizers.items():
        named |= {f"optimizers/{group}/{name}": variable for name, variable in variables.items()}
    return {**named, "step": step}


def unflatten(spec: AgentSpec, arrays: Sequence[Tensor]) -> Unroll:
    """The unroll whose arrays a training step is given."""
    rest = iter(arrays)
    observation = {name: next(rest) for name in spec.observation}
    output = {name: next(rest) for name in spec.outputs}
    times = {name: next(rest) for name in TIME_SPEC}
    return Unroll(observation, output, **times, state={name: next(rest) for name in spec.state})


def _act_inputs(spec: AgentSpec) -> list[TensorSpec]:
    first, noise = TensorSpec((), "bool"), TensorSpec((spec.noise,), "float32")
    explore = TensorSpec((spec.explore,), "float32")
    return [*spec.observation.values(), *spec.state.values(), first, noise, explore]


def _flatten(unroll: Unroll) -> list[np.ndarray]:
    """An unroll's arrays in a fixed order."""
    times = [unroll.reward, unroll.discount, unroll.step_type, unroll.version]
    return [*unroll.observation.values(), *unroll.output.values(), *times, *unroll.state.values()]


def _refused(agent: Agent, batch: int) -> Unroll:
    """An unroll of zeros whose rewards are no numbers: a training step refuses it and changes nothing."""
    spec, indices = agent.spec, agent.spec.unroll_length + 1
    observation = {name: leaf.zeros(indices, batch) for name, leaf in spec.observation.items()}
    output = {name: leaf.zeros(indices, batch) for name, leaf in spec.outputs.items()}
    times = {name: leaf.zeros(indices, batch) for name, leaf in TIME_SPEC.items()}
    times["reward"][:] = np.nan
    return Unroll(observation, output, **times, state={n: leaf.zeros(batch) for n, leaf in spec.state.items()})
