"""Acting and training on JAX: executables compiled ahead of time, which variables enter and leave as arguments."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax._src.xla_bridge import backends_are_initialized

from corral.agents.agent import Agent, Tensor
from corral.agents.backend.base import (
    Function,
    ReplicaBase,
    TrainerBase,
    caller,
    check_fit,
    make_optimizer,
    name_everything,
    optimizer_state,
    unflatten,
)
from corral.agents.settings import OptimizerSettings
from corral.agents.weights import named_variables
from corral.protocol.specs import Spec, TensorSpec

_Updates = dict[int, Tensor]
"""What variables become, by their positions in a list."""


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads JAX uses on the CPU, 0: its choice, and has it compute in the thread that calls.

    JAX has one pool of threads, of `intra_threads`; `inter_threads` has no counterpart and changes nothing.
    Whoever waits for each result, as a server does, gains nothing from a second thread and loses the hand-over.

    Raises:
      RuntimeError: JAX has already run something, and is set in its ways.
    """
    if backends_are_initialized():
        raise RuntimeError("JAX has already run something: its threads can be set before that alone")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    with _environment("NPROC", str(intra_threads) if intra_threads else None):  # where JAX looks as it starts
        jax.devices("cpu")


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in JAX: an executable for each bucket, to which weights are arguments.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      clone: whether the replica gets variables of its own, copied from the agent's; else it uses those.
    """

    def __init__(self, agent: Agent, buckets: Sequence[int], *, clone: bool = False) -> None:
        self._nets = {name: agent.nets[name] for name in agent.published}
        traced = named_variables(self._nets)
        own = {name: _copy(variable) for name, variable in traced.items()} if clone else traced
        self._traced, self._own = list(traced.values()), list(own.values())
        super().__init__(agent, buckets, _Variables(own))

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        # Measured: one argument for each array is as fast as packed weights or fewer arguments, within 3 us of
        # 46; copies to the device ahead of the call cost 300 us.
        executable, own = _compiled(self._traced_act, [*_values(self._own), *examples]), self._own
        leaves = [*self.agent.spec.outputs.values(), *self.agent.spec.state.values()]
        widened: list[tuple[int, np.dtype]] = []

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            results, updates = executable(*_values(own), *arrays)
            # Read here and now: until then the executable may be looking at the caller's memory.
            outputs = [np.asarray(result) for result in results]
            for index, dtype in widened:
                outputs[index] = outputs[index].astype(dtype)
            if updates:
                _assign(own, updates)
            return outputs

        # JAX has no numbers of 64 bits, unless it is told to.
        for index, (output, leaf) in enumerate(zip(run(examples), leaves, strict=True)):
            if output.dtype != leaf.dtype:
                widened.append((index, np.dtype(leaf.dtype)))
        return run

    def _traced_act(self, *arguments: Tensor) -> tuple[list[Tensor], _Updates]:
        values, inputs = _split(arguments, len(self._traced))
        with _in_place_of(self._traced, values) as updates:
            results = self._act(caller(self._nets), inputs)
        return results, updates


class Trainer(TrainerBase):
    """Trains an agent's nets in JAX: a step takes the values of all variables, and leaves new ones in their place.

    Args:
      agent: what to train; its nets' variables are the ones that change.
      settings: how gradients become steps.

    Raises:
      ValueError: the agent has nothing to train.
    """

    def __init__(self, agent: Agent, settings: OptimizerSettings) -> None:
        super().__init__(agent)
        self._step = keras.Variable(0, dtype="int32", trainable=False, name="step")
        self._groups = {group: _Group(agent, nets, settings) for group, nets in agent.groups.items()}
        self._published = _Variables(named_variables({name: agent.nets[name] for name in agent.published}))
        optimizers = {name: optimizer_state(group.optimizer) for name, group in self._groups.items()}
        self._everything = _Variables(name_everything(named_variables(agent.nets), optimizers, self._step))
        of_nets = [variable for net in agent.nets.values() for variable in net.variables]
        of_groups = [variable for group in self._groups.values() for variable in group.optimizer.variables]
        self._variables = _distinct([*of_nets, *of_groups, self._step])
        self._places = {id(variable): place for place, variable in enumerate(self._variables)}

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        variables = self._variables
        # No memory is donated: snapshots that `state` and `weights` have handed out may be views of it.
        executable = _compiled(self._train, [*_values(variables), *examples])

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            packed, updates = executable(*_values(variables), *arrays)
            _assign(variables, updates)
            return [np.asarray(packed)]

        run(examples)
        return run

    def _train(self, *arguments: Tensor) -> tuple[Tensor, _Updates]:
        """The packed metrics, and what a step changes: where it is not finite, to what it was."""
        values, arrays = _split(arguments, len(self._variables))
        gradients: dict[str, Tensor] = {}
        for name, group in self._groups.items():
            # Each group has a pass of its own; XLA computes once what they share.
            own = [values[place] for place in self._places_of(group.variables)]
            parts, (losses, metrics, updates) = jax.grad(self._loss, has_aux=True)(own, name, values, arrays)
            gradients[name] = _joined(parts)
        norms = {name: jnp.linalg.norm(gradient) for name, gradient in gradients.items()}
        finite = jnp.all(jnp.isfinite(jnp.stack([*losses.values(), *norms.values()])))
        updates = {**updates, **self._stepped(values, gradients, norms)}
        old = {place: values[place] for place in updates}
        kept = jax.lax.cond(finite, lambda: updates, lambda: old)
        losses = {name: losses[name] for name in self._groups}
        report = self._report(metrics, losses, norms, self._learning_rate(values), finite)
        return jnp.stack([jnp.asarray(value, "float32") for value in report]), kept

    def _loss(
        self, own: Sequence[Tensor], name: str, values: Sequence[Tensor], arrays: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[dict[str, Tensor], dict[str, Tensor], _Updates]]:
        """The loss of group `name`, a function of the group's `own` values; beside it all losses, the metrics,
        and what the nets changed."""
        values = list(values)
        for place, value in zip(self._places_of(self._groups[name].variables), own, strict=True):
            values[place] = value
        unroll = unflatten(self.agent.spec, arrays)
        with _in_place_of(self._variables, values) as updates:
            losses, metrics = self.agent.losses(caller(self.agent.nets), unroll, self._step.value)
        # Ordered: JAX sorts the names of plain dictionaries.
        return losses[name], (losses, OrderedDict(metrics), updates)

    def _stepped(
        self, values: Sequence[Tensor], gradients: Mapping[str, Tensor], norms: Mapping[str, Tensor]
    ) -> _Updates:
        """What the optimizers make of the gradients, and the next count of steps."""
        step = self._places[id(self._step)]
        updates = {step: values[step] + 1}
        for name, group in self._groups.items():
            own, state = self._places_of(group.variables), self._places_of(group.optimizer.variables)
            news = group.apply(
                gradients[name], norms[name], [values[place] for place in own], [values[place] for place in state]
            )
            updates.update(zip([*own, *state], news, strict=True))
        return {place: new.astype(values[place].dtype) for place, new in updates.items()}

    def _learning_rate(self, values: Sequence[Tensor]) -> Tensor:
        """The rate of the step that is being taken."""
        optimizer = next(iter(self._groups.values())).optimizer
        with _in_place_of(self._variables, values):
            return keras.ops.convert_to_tensor(optimizer.learning_rate, "float32")

    def _places_of(self, variables: Sequence[keras.Variable]) -> list[int]:
        return [self._places[id(variable)] for variable in variables]


class _Group:
    """The variables that one optimizer trains, laid end to end.

    Keras' optimizers add a dozen operations for each variable; on one flat vector they add a dozen in all.
    Each optimizer here works element by element, so the result is the same.
    """

    def __init__(self, agent: Agent, nets: Sequence[str], settings: OptimizerSettings) -> None:
        self.variables = _distinct([v for name in nets for v in agent.nets[name].trainable_variables])
        self._ends = np.cumsum([int(np.prod(variable.shape)) for variable in self.variables]).tolist()
        self._clip_norm = settings.clip_norm
        self.optimizer = make_optimizer(settings)
        self.optimizer.build([keras.Variable(np.zeros(self._ends[-1], np.float32), name="flat")])

    def apply(
        self, gradient: Tensor, norm: Tensor, values: Sequence[Tensor], state: Sequence[Tensor]
    ) -> list[Tensor]:
        """What one step, with the gradient clipped, makes of `values` and of the optimizer's `state`."""
        if self._clip_norm > 0:
            gradient = gradient * (self._clip_norm / jnp.maximum(norm, self._clip_norm))
        (flat,), state = self.optimizer.stateless_apply(state, [gradient], [_joined(values)])
        parts = jnp.split(flat, self._ends[:-1])
        return [*(part.reshape(value.shape) for part, value in zip(parts, values, strict=True)), *state]


class _Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
    """

    def __init__(self, variables: Mapping[str, keras.Variable]) -> None:
        self._variables = dict(variables)
        self.spec: Spec = {
            name: TensorSpec(tuple(variable.shape), variable.value.dtype.name)
            for name, variable in variables.items()
        }

    def read(self) -> dict[str, np.ndarray]:
        """Read-only arrays: on the CPU the very memory of the values, which nobody ever overwrites."""
        arrays = jax.device_get(_values(list(self._variables.values())))
        for array in arrays:
            array.flags.writeable = False
        return dict(zip(self._variables, arrays, strict=True))

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes all values, or, where one does not fit, none."""
        check_fit(self.spec, values)
        # Copies, since on the CPU JAX may keep the very memory that it is given.
        arrays = jax.device_put([np.array(values[name]) for name in self.spec])
        _assign(list(self._variables.values()), dict(enumerate(arrays)))


@contextmanager
def _in_place_of(variables: Sequence[keras.Variable], values: Sequence[Tensor]) -> Iterator[_Updates]:
    """Has Keras take these values for those variables.

    Yields:
      a dictionary, empty so far: at the end it holds what was assigned to variables in the meantime.
    """
    updates: _Updates = {}
    with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
        before = [scope.get_current_value(variable) for variable in variables]
        yield updates
        after = [scope.get_current_value(variable) for variable in variables]
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if new is not old:
            updates[place] = new


def _compiled(function: Callable[..., Any], examples: Sequence[Any]) -> Callable[..., Any]:
    """`function` for arguments like `examples`. It refuses others, where `jax.jit` would compile once more."""
    with warnings.catch_warnings():
        # Agents name the dtypes of their specs. What JAX has no 64 bits for is widened when it is out.
        warnings.filterwarnings("ignore", message="Explicitly requested dtype")
        return jax.jit(function).lower(*examples).compile()


def _values(variables: Sequence[keras.Variable]) -> list[jax.Array]:
    # Not `.value`: that looks for scopes which are not open here, and takes 15 us for a small net's variables.
    return [variable._value for variable in variables]


def _assign(variables: Sequence[keras.Variable], updates: Mapping[int, jax.Array]) -> None:
    for place, value in updates.items():
        variables[place]._value = value


def _copy(variable: keras.Variable) -> keras.Variable:
    return keras.Variable(variable.value, dtype=variable.dtype, trainable=False, name=variable.name)


def _distinct(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _split(arguments: Sequence[Tensor], at: int) -> tuple[list[Tensor], list[Tensor]]:
    return list(arguments[:at]), list(arguments[at:])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return jnp.concatenate([jnp.asarray(tensor, "float32").reshape(-1) for tensor in tensors])


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable that is `value` meanwhile; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None and before is None:
            del os.environ[name]
        elif before is not None:
            os.environ[name] = before
