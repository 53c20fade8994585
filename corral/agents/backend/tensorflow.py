"""Acting and training on TensorFlow: concrete functions, gradients, packed weights."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, execute
from tensorflow.python.framework.ops import EagerTensor

from corral.agents.agent import Agent, Call, Group, Target
from corral.agents.backend.base import (
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
from corral.agents.backend.towers import Towers
from corral.agents.settings import Count, OptimizerSettings, Precision
from corral.agents.weights import named_variables
from corral.protocol.specs import Spec, TensorSpec

_ALIGNMENT = 64
_WORTH = 0.8
"""What share of the time in the calling thread other threads must need, to be used."""
_LONG_S = 0.1
"""Calls that take longer are tried once."""
_TRIALS = 7
"""Calls of each executor, of which the fastest counts."""


def acting_devices(count: Count) -> list[str]:
    """The device of each replica of a policy: accelerators, or processors where there are none."""
    return for_replicas(count, *_devices())


def training_devices(count: Count) -> list[str]:
    """The devices that share a training step. Raises ValueError where there are not so many."""
    return for_training(count, *_devices())


def take_memory(limit_mb: int = 0) -> None:
    """Has GPUs' memory be taken as it is needed, and at most `limit_mb` MB of each; 0: as much as there is.

    Raises:
      RuntimeError: TensorFlow has already run something, and is set in its ways.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        if limit_mb:
            # A limited device is set up in its own way, to which only this variable brings growth.
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limited])
        else:
            tf.config.experimental.set_memory_growth(gpu, True)


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads TensorFlow uses within one operation, and for operations at once; 0: its choice.

    Raises:
      RuntimeError: TensorFlow has already run something, and is set in its ways.
    """
    tf.config.threading.set_intra_op_parallelism_threads(intra_threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_threads)


def repeat_bits() -> None:
    """Gives the same results each time: no operation of several results, and no choice that hangs on time."""
    tf.config.experimental.enable_op_determinism()
    _Function.chooses = False


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in TensorFlow: a concrete function for each bucket.

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
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        nets = {name: agent.nets[name] for name in agent.published}
        self._device = device
        with tf.device(device):
            if precision != "float32":
                self._nets = cast_nets(nets, precision)
            else:
                self._nets = {name: clone_net(net) for name, net in nets.items()} if clone else nets
        variables = _Variables(_named_variables(self._nets), _Variables(_named_variables(nets)).spec)
        super().__init__(agent, buckets, variables, precision)

    def _compile(self, examples: Sequence[np.ndarray]) -> _Function:
        function = _Function(self._placed_act, examples)
        function.choose_executor(examples)
        return function

    def _placed_act(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.device(self._device):
            return self._act(caller(self._nets), inputs)


class Trainer(TrainerBase):
    """Trains an agent's nets in TensorFlow, in place.

    Args:
      agent: what to train; its nets' variables are the ones that change.
      settings: how gradients become steps.
      devices: how many share the work of nets (`Towers`).

    Raises:
      ValueError: the agent has nothing to train, or there are not so many devices.
    """

    def __init__(self, agent: Agent, settings: OptimizerSettings, devices: Count = 1) -> None:
        self._devices = training_devices(devices)
        super().__init__(agent, len(self._devices))
        self._step = tf.Variable(0, dtype="int64", trainable=False)
        self._groups = {name: _Group(agent, group, settings) for name, group in agent.groups.items()}
        self._slow = {name: clone_net(agent.nets[name]) for name in agent.targets}
        self._kept, self._slow_kept = _kept(agent.nets), _kept(self._slow)
        self._published = _Variables(_named_variables({name: agent.nets[name] for name in agent.published}))
        optimizers = {name: group.optimizer_variables() for name, group in self._groups.items()}
        nets, targets = _named_variables(agent.nets), _named_variables(self._slow)
        self._everything = _Variables(name_everything(nets, targets, optimizers, self._step))

    def _compile(self, examples: Sequence[np.ndarray]) -> _Function:
        function = _Function(self._train, examples)
        function.choose_executor(examples)  # on batches that are refused, like the first: nothing changes
        return function

    def _compile_preparation(self, examples: Sequence[np.ndarray]) -> _Function:
        return _Function(self._prepare, examples)

    def _prepare(self, *arrays: tf.Tensor) -> list[tf.Tensor]:
        batch = as_batch(self.agent.spec, arrays, self._step.read_value(), prepared=False)
        kept = [*self._kept, *self._slow_kept]
        before = [variable.read_value() for variable in kept]
        made = self.agent.prepare(self._caller(self.agent.nets), self._caller(self._slow), batch)
        _put_back(kept, before)
        return [tf.cast(made[name], leaf.dtype) for name, leaf in self.agent.spec.prepared.items()]

    def _caller(self, nets: Mapping[str, keras.Model]) -> Call:
        return caller(nets) if self.devices == 1 else Towers(nets, self._devices, tf.device, tf.identity)

    def _train(self, *arrays: tf.Tensor) -> list[tf.Tensor]:
        batch = as_batch(self.agent.spec, arrays, self._step.read_value())
        before = [variable.read_value() for variable in self._kept]
        slow_before = [variable.read_value() for variable in self._slow_kept]
        with tf.GradientTape(persistent=len(self._groups) > 1) as tape:
            losses = self.agent.losses(self._caller(self.agent.nets), self._caller(self._slow), batch)
        _put_back(self._slow_kept, slow_before)  # a slow copy changes as it follows, and in no other way
        gradients = {name: group.gradient(tape, losses.groups[name]) for name, group in self._groups.items()}
        norms = {name: tf.norm(gradient) for name, gradient in gradients.items()}
        finite = tf.reduce_all(tf.math.is_finite(tf.stack([*losses.groups.values(), *norms.values()])))
        learning_rate = next(iter(self._groups.values())).learning_rate()
        tf.cond(finite, lambda: self._apply(gradients, norms), lambda: _put_back(self._kept, before))
        report = self._report(losses, norms, learning_rate, finite)
        packed = tf.stack([tf.cast(value, "float32") for value in report])
        return [packed] if losses.priorities is None else [packed, losses.priorities]

    def _apply(self, gradients: Mapping[str, tf.Tensor], norms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        for name, group in self._groups.items():
            apply = partial(group.apply, gradients[name], norms[name])
            _every(self.agent.groups[name].every, self._step, apply)
        self._step.assign_add(1)
        for name, target in self.agent.targets.items():
            _every(target.every, self._step, partial(self._follow, name, target))
        return tf.constant(True)

    def _follow(self, name: str, target: Target) -> None:
        for slow, fast in zip(self._slow[name].variables, self.agent.nets[name].variables, strict=True):
            moves = target.rate < 1 and slow.value.dtype.is_floating  # what counts in whole numbers is copied
            slow.value.assign(slow.value + target.rate * (fast.value - slow.value) if moves else fast.value)


class _Group:
    """The variables that one optimizer trains, laid end to end.

    Keras' optimizers add a dozen operations for each variable; on one flat vector they add a dozen in all,
    and a step is traced three times as fast. Each optimizer here works element by element, so the result
    is the same.
    """

    def __init__(self, agent: Agent, group: Group, settings: OptimizerSettings) -> None:
        self._variables = _distinct([v.value for name in group.nets for v in agent.nets[name].trainable_variables])
        self._sizes = [int(np.prod(variable.shape)) for variable in self._variables]
        self._flat = keras.Variable(np.zeros(sum(self._sizes), np.float32), name="flat")
        self._clip_norm = settings.clip_norm
        self._optimizer = make_optimizer(settings, group.rate)
        self._optimizer.build([self._flat])

    def gradient(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """The gradient of `loss`, as one vector."""
        return _joined(tape.gradient(loss, self._variables, unconnected_gradients="zero"))

    def learning_rate(self) -> tf.Tensor:
        """The rate of the next step."""
        return tf.cast(self._optimizer.learning_rate, "float32")

    def apply(self, gradient: tf.Tensor, norm: tf.Tensor) -> None:
        """One step of the optimizer, with the gradient clipped."""
        if self._clip_norm > 0:
            gradient = gradient * (self._clip_norm / tf.maximum(norm, self._clip_norm))
        self._flat.assign(_joined(self._variables))
        self._optimizer.apply([gradient], [self._flat])
        for variable, part in zip(self._variables, tf.split(self._flat.value, self._sizes), strict=True):
            variable.assign(tf.cast(tf.reshape(part, variable.shape), variable.dtype))

    def optimizer_variables(self) -> dict[str, tf.Variable]:
        """What a checkpoint keeps of the optimizer, by position."""
        return {name: variable.value for name, variable in optimizer_state(self._optimizer).items()}


class _Function:
    """A concrete function from numpy arrays to numpy arrays, called without TensorFlow's Python layers.

    Calling a `ConcreteFunction` itself costs about 100 us in Python, and `tf.constant` copies each array. Here
    the arrays' memory is lent to the call, and the function is run as an operation of the eager context.

    Args:
      function: from tensors to a list of tensors.
      examples: arrays of the shapes and dtypes to compile for; the function is run once on them.

    Attributes:
      chooses: whether `choose_executor` tries what is faster; else it takes this thread.
    """

    chooses = True

    def __init__(self, function: Callable[..., list[tf.Tensor]], examples: Sequence[np.ndarray]) -> None:
        signature = [tf.TensorSpec(array.shape, array.dtype) for array in examples]
        compiled = tf.function(function, autograph=False)
        # Kept whole: the function lives only as long as its Python object.
        self._concrete = concrete = compiled.get_concrete_function(*signature)
        self._operation = concrete._inference_function.name.decode()
        self._num_outputs = len(concrete.outputs)
        self._context = context.context()
        self._context.ensure_initialized()
        self._device = self._context.device_name
        self._attributes: tuple[Any, ...] = ()
        used = [bool(placeholder.consumers()) for placeholder in concrete.inputs[: len(examples)]]
        self._used = [index for index, is_used in enumerate(used) if is_used]
        # What the function ignores is never looked at again: its example stands in for it.
        stand_ins = [None if is_used else tf.constant(array) for array, is_used in zip(examples, used, strict=True)]
        self._tensors = [*stand_ins, *concrete.captured_inputs]
        self._lent: list[int] = []
        self._lent = self._outputs_in_input_memory(examples)

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors, device = self._tensors.copy(), self._device
        for index in self._used:
            tensors[index] = EagerTensor(arrays[index], device, None)
        results = execute.execute(self._operation, self._num_outputs, tensors, self._attributes, self._context)
        outputs = [result._numpy() for result in results]
        for index in self._lent:
            outputs[index] = outputs[index].copy()
        return outputs

    def choose_executor(self, arrays: Sequence[np.ndarray]) -> None:
        """Choose where the function runs: in TensorFlow's threads while this one waits, or in this one.

        For a small net the way to another thread and back costs more than the net itself, the more so on busy cores
        (benchmarks/DATA_PLANE.md); one with branches that run side by side can win far more than `_WORTH`.
        """
        elsewhere: tuple[str, tuple[Any, ...]] = (self._operation, ())
        # A function that is called by its name is always handed over; as an operation's attribute it is not.
        here = ("StatefulPartitionedCall", self._call_attributes())
        if not self.chooses:
            self._operation, self._attributes = here
            return
        taken = {elsewhere: math.inf, here: math.inf}
        for _ in range(_TRIALS):
            if taken[elsewhere] > _LONG_S and taken[here] < math.inf:
                break  # what takes so long gains nothing by a few microseconds, and would take for ever to start
            for way in taken:
                self._operation, self._attributes = way
                begun = time.perf_counter()
                self(arrays)
                taken[way] = min(taken[way], time.perf_counter() - begun)
        self._operation, self._attributes = elsewhere if taken[elsewhere] < _WORTH * taken[here] else here

    def _call_attributes(self) -> tuple[Any, ...]:
        """What the operation that calls this function is told of it."""
        inputs = tuple(tensor.dtype.as_datatype_enum for tensor in self._concrete.inputs)
        outputs = tuple(tensor.dtype.as_datatype_enum for tensor in self._concrete.outputs)
        attributes = {
            "Tin": inputs,
            "Tout": outputs,
            "f": self._concrete._inference_function,
            "config": "",
            "config_proto": self._context.function_call_options.config_proto_serialized,
            "executor_type": "",
        }
        return tuple(chain.from_iterable(attributes.items()))

    def _outputs_in_input_memory(self, examples: Sequence[np.ndarray]) -> list[int]:
        """Which outputs are an input handed through: the caller may overwrite that memory, so they are copied."""
        arrays = [_aligned(array) for array in examples]
        outputs = self(arrays)
        return [i for i, out in enumerate(outputs) if any(np.may_share_memory(out, array) for array in arrays)]


class _Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
      spec: the dtypes that they are read and written as, if not their own.
    """

    def __init__(self, variables: Mapping[str, tf.Variable], spec: Spec | None = None) -> None:
        self._variables = dict(variables)
        self.spec: Spec = spec or {
            name: TensorSpec(tuple(variable.shape), variable.dtype.name) for name, variable in variables.items()
        }
        self._by_dtype: dict[str, list[str]] = {}
        for name, leaf in self.spec.items():
            self._by_dtype.setdefault(leaf.dtype, []).append(name)
        self._read: _Function | None = None
        self._write: _Function | None = None

    def read(self) -> dict[str, np.ndarray]:
        """Read-only views of one copy of all values: one transfer for each dtype."""
        if self._read is None:
            self._read = _Function(self._pack, [])
        values: dict[str, np.ndarray] = {}
        for names, packed in zip(self._by_dtype.values(), self._read([]), strict=True):
            packed.flags.writeable = False
            leaves = [self.spec[name] for name in names]
            parts = np.split(packed, np.cumsum([leaf.size for leaf in leaves])[:-1])
            values.update(
                (name, part.reshape(leaf.shape)) for name, leaf, part in zip(names, leaves, parts, strict=True)
            )
        return {name: values[name] for name in self.spec}

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Assigns all values, or, where one does not fit, none."""
        check_fit(self.spec, values, [variable.dtype.name for variable in self._variables.values()])
        # Copies, since a variable may keep the very memory that it is assigned.
        arrays = [np.array(values[name]) for name in self.spec]
        if self._write is None:
            self._write = _Function(self._assign, arrays)
        else:
            self._write(arrays)

    def _pack(self) -> list[tf.Tensor]:
        return [
            tf.concat([tf.cast(tf.reshape(self._variables[name], [-1]), dtype) for name in names], axis=0)
            for dtype, names in self._by_dtype.items()
        ]

    def _assign(self, *values: tf.Tensor) -> list[tf.Tensor]:
        for variable, value in zip(self._variables.values(), values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        return []


def _every(steps: int, step: tf.Variable, change: Callable[[], None]) -> None:
    """Has `change` happen at every `steps`th step alone."""
    if steps == 1:
        change()
        return

    def changed() -> tf.Tensor:
        change()
        return tf.constant(True)

    tf.cond(step % steps == 0, changed, lambda: tf.constant(False))


def _kept(nets: Mapping[str, keras.Model]) -> list[tf.Variable]:
    """What layers keep beside their weights, and may change in passing."""
    return _distinct([variable.value for net in nets.values() for variable in net.non_trainable_variables])


def _put_back(variables: Sequence[tf.Variable], before: Sequence[tf.Tensor]) -> tf.Tensor:
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return tf.constant(False)


def _distinct(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _joined(tensors: Sequence[Any]) -> tf.Tensor:
    return tf.concat([tf.cast(tf.reshape(tensor, [-1]), "float32") for tensor in tensors], axis=0)


def _named_variables(nets: Mapping[str, keras.Model]) -> dict[str, tf.Variable]:
    return {name: variable.value for name, variable in named_variables(nets).items()}


def _devices() -> tuple[list[str], list[str]]:
    """The accelerators and the processors that this process sees, by name."""
    devices = tf.config.list_logical_devices()
    processors = [device.name for device in devices if device.device_type == "CPU"]
    return [device.name for device in devices if device.device_type in ("GPU", "TPU")], processors


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes, as memory must for TensorFlow to take it uncopied."""
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
