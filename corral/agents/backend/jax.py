"""Acting and training on JAX: executables compiled ahead of time, which variables enter and leave as arguments."""

from __future__ import annotations

import os
import subprocess
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

from corral.agents.agent import Agent, Group, Losses, Tensor
from corral.agents.backend.base import (
    Function,
    ReplicaBase,
    TrainerBase,
    as_batch,
    caller,
    check_fit,
    clone_net,
    make_optimizer,
    name_everything,
    optimizer_state,
)
from corral.agents.backend.devices import for_replicas, for_training
from corral.agents.backend.precision import cast_nets
from corral.agents.settings import Count, OptimizerSettings, Precision
from corral.agents.weights import named_variables
from corral.protocol.specs import Spec, TensorSpec

_Updates = dict[int, Tensor]
"""What variables become, by their positions in a list."""


def acting_devices(count: Count) -> list[jax.Device]:
    """The device of each replica of a policy: accelerators, or processors where there are none."""
    return for_replicas(count, *_devices())


def training_devices(count: Count) -> list[jax.Device]:
    """The devices that share a training step. Raises ValueError where there are not so many."""
    return for_training(count, *_devices())


def take_memory(limit_mb: int = 0) -> None:
    """Has GPUs' memory be taken as it is needed, and at most `limit_mb` MB of each; 0: as JAX limits itself.

    JAX takes a part of the memory for its limit: of several GPUs, this is told by the largest.

    Raises:
      RuntimeError: JAX has already run something, and is set in its ways.
    """
    if backends_are_initialized():
        if limit_mb:
            raise RuntimeError("JAX has already run something: its memory can be limited before that alone")
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if limit_mb and (memories := _memories_mb()):
        os.environ["XLA_CLIENT_MEM_FRACTION"] = f"{min(limit_mb / max(memories), 1.0):.4f}"


def _memories_mb() -> list[int]:
    """The memory of each NVIDIA GPU of this machine, in MB, without JAX, which would begin to use them."""
    command = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return [int(line) for line in said.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # no driver, no such GPU


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads JAX uses on the CPU, 0: its choice, and has it compute in the thread that calls.

    JAX has one pool of threads, of `intra_threads`; `inter_threads` has no counterpart and changes nothing.
    Whoever waits for each result, as a server does, gains nothing from a second thread and loses the hand-over.

    Raises:
      RuntimeError: JAX has already run something, and is set in its ways.
    """
    if backends_are_initialized():
        raise RuntimeError("JAX has already run something: its threads can be set before that alone")
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]
    with _environment("NPROC", str(intra_threads) if intra_threads else None):  # where JAX looks as it starts
        jax.devices("cpu")


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in JAX: an executable for each bucket, to which weights are arguments.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      clone: whether the replica gets variables of its own, copied from the agent's; else it uses those.
      device: one of `acting_devices`, where it has a clone's variables and computes; None: where Keras would.
      precision: what it computes in; in another than float32 it has variables of its own, too.

    Raises:
      PrecisionError: a net cannot act in this precision.
    """

    def __init__(
        self,
        agent: Agent,
        buckets: Sequence[int],
        *,
        clone: bool = False,
        device: jax.Device | None = None,
        precision: Precision = "float32",
    ) -> None:
        nets = {name: agent.nets[name] for name in agent.published}
        self._device = device
        self._nets = nets if precision == "float32" else cast_nets(nets, precision)
        traced = named_variables(self._nets)
        own = {name: _copy(variable, device) for name, variable in traced.items()} if clone else traced
        self._traced, self._own = list(traced.values()), list(own.values())
        variables = _Variables(own, _Variables(named_variables(nets)).spec, device)
        super().__init__(agent, buckets, variables, precision)

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        # Measured: one argument for each array is as fast as packed weights or fewer arguments, within 3 us of
        # 46; copies to the device ahead of the call cost 300 us.
        with jax.default_device(self._device):
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
      devices: how many share each step. XLA has them compute what one would, on even parts of each minibatch.

    Raises:
      ValueError: the agent has nothing to train, or there are not so many devices.
    """

    def __init__(self, agent: Agent, settings: OptimizerSettings, devices: Count = 1) -> None:
        chosen = training_devices(devices)
        super().__init__(agent, len(chosen))
        self._sharing = _Sharing(chosen) if len(chosen) > 1 else None
        place = self._sharing.everywhere if self._sharing is not None else None
        self._step = keras.Variable(0, dtype="int32", trainable=False, name="step")
        self._groups = {name: _Group(agent, group, settings) for name, group in agent.groups.items()}
        self._slow = {name: clone_net(agent.nets[name]) for name in agent.targets}
        published = {name: agent.nets[name] for name in agent.published}
        self._published = _Variables(named_variables(published), place=place)
        optimizers = {name: optimizer_state(group.optimizer) for name, group in self._groups.items()}
        nets, targets = named_variables(agent.nets), named_variables(self._slow)
        self._everything = _Variables(name_everything(nets, targets, optimizers, self._step), place=place)
        of_nets = [variable for net in (*agent.nets.values(), *self._slow.values()) for variable in net.variables]
        of_groups = [variable for group in self._groups.values() for variable in group.optimizer.variables]
        self._variables = _distinct([*of_nets, *of_groups, self._step])
        self._places = {id(variable): place for place, variable in enumerate(self._variables)}
        if place is not None:
            for variable in self._variables:
                variable._value = jax.device_put(variable._value, place)

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        variables = self._variables
        # No memory is donated: snapshots that `state` and `weights` have handed out may be views of it.
        executable = _compiled(self._train, [*_values(variables), *examples], **self._shardings(self._axes()))

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            results, updates = executable(*_values(variables), *arrays)
            _assign(variables, updates)
            return [np.asarray(result) for result in results]

        run(examples)
        return run

    def _compile_preparation(self, examples: Sequence[np.ndarray]) -> Function:
        variables = self._variables
        shardings = self._shardings(self._axes(prepared=False))
        executable = _compiled(self._prepare, [*_values(variables), *examples], **shardings)

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [np.asarray(result) for result in executable(*_values(variables), *arrays)]

        return run

    def _shardings(self, axes: Sequence[int]) -> dict[str, Any]:
        """Where the arguments of a function, and what it returns, lie: variables on every device, arrays in parts
        along their axis of sequences."""
        if self._sharing is None:
            return {}
        everywhere, along = self._sharing.everywhere, self._sharing.along
        return {
            "in_shardings": tuple([everywhere] * len(self._variables) + [along(axis) for axis in axes]),
            "out_shardings": everywhere,
        }

    def _prepare(self, *arguments: Tensor) -> list[Tensor]:
        values, arrays = _split(arguments, len(self._variables))
        with _in_place_of(self._variables, values):
            batch = as_batch(self.agent.spec, arrays, self._step.value, prepared=False)
            made = self.agent.prepare(caller(self.agent.nets), caller(self._slow), batch)
        return [jnp.asarray(made[name], leaf.dtype) for name, leaf in self.agent.spec.prepared.items()]

    def _train(self, *arguments: Tensor) -> tuple[list[Tensor], _Updates]:
        """Packed metrics, and priorities; and what a step changes: to what it was, where it is not finite."""
        values, arrays = _split(arguments, len(self._variables))
        gradients: dict[str, Tensor] = {}
        for name, group in self._groups.items():
            # Each group has a pass of its own; XLA computes once what they share.
            own = [values[place] for place in self._places_of(group.variables)]
            parts, (losses, updates) = jax.grad(self._loss, has_aux=True)(own, name, values, arrays)
            gradients[name] = _joined(parts)
        norms = {name: jnp.linalg.norm(gradient) for name, gradient in gradients.items()}
        finite = jnp.all(jnp.isfinite(jnp.stack([*losses.groups.values(), *norms.values()])))
        updates = {**updates, **self._stepped(values, gradients, norms)}
        updates.update(self._followed([updates.get(place, value) for place, value in enumerate(values)], values))
        old = {place: values[place] for place in updates}
        kept = jax.lax.cond(finite, lambda: updates, lambda: old)
        report = self._report(losses, norms, self._learning_rate(values), finite)
        packed = jnp.stack([jnp.asarray(value, "float32") for value in report])
        return [packed] if losses.priorities is None else [packed, losses.priorities], kept

    def _loss(
        self, own: Sequence[Tensor], name: str, values: Sequence[Tensor], arrays: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Losses, _Updates]]:
        """The loss of group `name`, a function of the group's `own` values; beside it all that the agent gave, and
        what the nets changed."""
        values = list(values)
        for place, value in zip(self._places_of(self._groups[name].variables), own, strict=True):
            values[place] = value
        with _in_place_of(self._variables, values) as updates:
            batch = as_batch(self.agent.spec, arrays, self._step.value)
            losses = self.agent.losses(caller(self.agent.nets), caller(self._slow), batch)
        # Ordered: JAX sorts the names of plain dictionaries.
        return losses.groups[name], (losses._replace(metrics=OrderedDict(losses.metrics)), updates)

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
            due = values[step] % self.agent.groups[name].every == 0
            changed = zip([*own, *state], news, strict=True)
            updates.update({place: jnp.where(due, new, values[place]) for place, new in changed})
        return {place: new.astype(values[place].dtype) for place, new in updates.items()}

    def _followed(self, values: Sequence[Tensor], before: Sequence[Tensor]) -> _Updates:
        """What the slow copies become when the nets have become `values`."""
        updates: _Updates = {}
        step = values[self._places[id(self._step)]]
        for name, target in self.agent.targets.items():
            slow, fast = self._slow[name].variables, self.agent.nets[name].variables
            for at, follows in zip(self._places_of(slow), self._places_of(fast), strict=True):
                moves = target.rate < 1 and jnp.issubdtype(before[at].dtype, jnp.floating)  # counts are copied
                moved = before[at] + target.rate * (values[follows] - before[at]) if moves else values[follows]
                updates[at] = jnp.where(step % target.every == 0, moved, before[at])
        return updates

    def _learning_rate(self, values: Sequence[Tensor]) -> Tensor:
        """The rate of the step that is being taken."""
        optimizer = next(iter(self._groups.values())).optimizer
        with _in_place_of(self._variables, values):
            return keras.ops.convert_to_tensor(optimizer.learning_rate, "float32")

    def _places_of(self, variables: Sequence[keras.Variable]) -> list[int]:
        return [self._places[id(variable)] for variable in variables]


class _Sharing:
    """Where data lies that several devices share, by Keras' distribution API.

    Attributes:
      everywhere: whole, on each device.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        names = [f"{device.platform}:{device.id}" for device in devices]
        self._mesh = keras.distribution.DeviceMesh((len(names),), ["sequences"], names)
        self.everywhere = keras.distribution.TensorLayout([], self._mesh).backend_layout

    def along(self, axis: int) -> Any:
        """In even parts along an axis."""
        return keras.distribution.TensorLayout([None] * axis + ["sequences"], self._mesh).backend_layout


class _Group:
    """The variables that one optimizer trains, laid end to end.

    Keras' optimizers add a dozen operations for each variable; on one flat vector they add a dozen in all.
    Each optimizer here works element by element, so the result is the same.
    """

    def __init__(self, agent: Agent, group: Group, settings: OptimizerSettings) -> None:
        self.variables = _distinct([v for name in group.nets for v in agent.nets[name].trainable_variables])
        self._ends = np.cumsum([int(np.prod(variable.shape)) for variable in self.variables]).tolist()
        self._clip_norm = settings.clip_norm
        self.optimizer = make_optimizer(settings, group.rate)
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
      spec: the dtypes that they are read and written as, if not their own.
      place: the device, or the sharding, that written values go to.
    """

    def __init__(
        self, variables: Mapping[str, keras.Variable], spec: Spec | None = None, place: Any = None
    ) -> None:
        self._variables = dict(variables)
        self._place = place
        self._dtypes = [variable._value.dtype for variable in variables.values()]
        self.spec: Spec = spec or {
            name: TensorSpec(tuple(variable.shape), variable.value.dtype.name)
            for name, variable in variables.items()
        }

    def read(self) -> dict[str, np.ndarray]:
        """Read-only arrays: on the CPU the very memory of the values, which nobody ever overwrites."""
        arrays = jax.device_get(_values(list(self._variables.values())))
        read = {
            name: array.astype(leaf.dtype, copy=False)
            for array, (name, leaf) in zip(arrays, self.spec.items(), strict=True)
        }
        for array in read.values():
            array.flags.writeable = False
        return read

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes all values, or, where one does not fit, none."""
        check_fit(self.spec, values, [dtype.name for dtype in self._dtypes])
        # Copies, since on the CPU JAX may keep the very memory that it is given.
        copies = [np.array(values[name], dtype) for name, dtype in zip(self.spec, self._dtypes, strict=True)]
        arrays = jax.device_put(copies, self._place)
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


def _compiled(function: Callable[..., Any], examples: Sequence[Any], **shardings: Any) -> Callable[..., Any]:
    """`function` for arguments like `examples`. It refuses others, where `jax.jit` would compile once more."""
    with warnings.catch_warnings():
        # Agents name the dtypes of their specs. What JAX has no 64 bits for is widened when it is out.
        warnings.filterwarnings("ignore", message="Explicitly requested dtype")
        return jax.jit(function, **shardings).lower(*examples).compile()


def _values(variables: Sequence[keras.Variable]) -> list[jax.Array]:
    # Not `.value`: that looks for scopes which are not open here, and takes 15 us for a small net's variables.
    return [variable._value for variable in variables]


def _assign(variables: Sequence[keras.Variable], updates: Mapping[int, jax.Array]) -> None:
    for place, value in updates.items():
        variables[place]._value = value


def _copy(variable: keras.Variable, device: jax.Device | None) -> keras.Variable:
    copy = keras.Variable(variable.value, dtype=variable.dtype, trainable=False, name=variable.name)
    if device is not None:
        copy._value = jax.device_put(copy._value, device)
    return copy


def _devices() -> tuple[list[jax.Device], list[jax.Device]]:
    """The accelerators and the processors that this process sees."""
    devices = jax.local_devices()
    return [device for device in devices if device.platform != "cpu"], jax.local_devices(backend="cpu")


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
