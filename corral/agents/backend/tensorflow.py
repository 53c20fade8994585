"""Acting and training on TensorFlow: concrete functions, gradients, packed weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, execute
from tensorflow.python.framework.ops import EagerTensor

from corral.agents.agent import Agent, Call
from corral.agents.settings import OptimizerSettings
from corral.agents.weights import named_variables
from corral.protocol.specs import Spec, TensorSpec, mismatch
from corral.protocol.unrolls import TIME_SPEC, Unroll

_ALIGNMENT = 64


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads TensorFlow uses within one operation, and for operations at once; 0: its choice.

    Raises:
      RuntimeError: TensorFlow has already run something, and is set in its ways.
    """
    tf.config.threading.set_intra_op_parallelism_threads(intra_threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_threads)


class CompiledAct:
    """One replica of an agent's policy: `Agent.act`, compiled for each bucket.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      clone: whether the replica gets variables of its own, copied from the agent's; else it uses those.
    """

    def __init__(self, agent: Agent, buckets: Sequence[int], *, clone: bool = False) -> None:
        self.agent = agent
        self.buckets = tuple(buckets)
        self.traces = 0
        """How many times `act` has been traced; stays as it is once every bucket is warm."""
        nets = {name: agent.nets[name] for name in agent.published}
        self._nets = {name: _clone(net) for name, net in nets.items()} if clone else nets
        self._variables = _Variables(_named_variables(self._nets))
        self._functions: dict[int, _Function] = {}
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
            self._functions[rows] = _Function(self._act, [leaf.zeros(rows) for leaf in self._inputs()])

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

    def _inputs(self) -> list[TensorSpec]:
        spec = self.agent.spec
        first, noise = TensorSpec((), "bool"), TensorSpec((spec.noise,), "float32")
        explore = TensorSpec((spec.explore,), "float32")
        return [*spec.observation.values(), *spec.state.values(), first, noise, explore]

    def _act(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        self.traces += 1
        spec = self.agent.spec
        *leaves, first, noise, explore = inputs
        observation = dict(zip(spec.observation, leaves, strict=False))
        state = dict(zip(spec.state, leaves[len(spec.observation) :], strict=True))
        outputs, state = self.agent.act(_caller(self._nets), observation, state, first, noise, explore)
        return [*(outputs[name] for name in self._outputs), *(state[name] for name in self._state)]


class Trainer:
    """Trains an agent's nets: one compiled step, one optimizer for each of the agent's groups.

    Args:
      agent: what to train; its nets' variables are the ones that change.
      settings: how gradients become steps.

    Raises:
      ValueError: the agent has nothing to train.
    """

    def __init__(self, agent: Agent, settings: OptimizerSettings) -> None:
        if not agent.groups:
            raise ValueError(f"{type(agent).__name__} has no nets to train: it only predicts")
        self.agent = agent
        self._step = tf.Variable(0, dtype="int64", trainable=False)
        self._groups = {group: _Group(agent, nets, settings) for group, nets in agent.groups.items()}
        self._published = _Variables(_named_variables({name: agent.nets[name] for name in agent.published}))
        self._everything = _Variables(self._name_everything())
        self._functions: dict[int, _Function] = {}
        self._metrics: list[str] = []

    @property
    def weight_spec(self) -> Spec:
        """Shape and dtype of each of the `weights`, by "net/variable"."""
        return self._published.spec

    def weights(self) -> dict[str, np.ndarray]:
        """The published nets' weights: read-only views of one packed copy."""
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

    def _function(self, batch: int) -> _Function:
        function = self._functions.get(batch)
        if function is None:
            # No reward is a number here, so the first run compiles everything and refuses itself.
            arrays = _flatten(_refused(self.agent, batch))
            function = self._functions[batch] = _Function(self._train, arrays)
        return function

    def _train(self, *arrays: tf.Tensor) -> list[tf.Tensor]:
        unroll = _unflatten(self.agent, arrays)
        with tf.GradientTape(persistent=len(self._groups) > 1) as tape:
            losses, metrics = self.agent.losses(_caller(self.agent.nets), unroll, self._step)
        gradients = {name: group.gradient(tape, losses[name]) for name, group in self._groups.items()}
        norms = {name: tf.norm(gradient) for name, gradient in gradients.items()}
        finite = tf.reduce_all(tf.math.is_finite(tf.stack([*losses.values(), *norms.values()])))
        learning_rate = next(iter(self._groups.values())).learning_rate()
        tf.cond(finite, lambda: self._apply(gradients, norms), lambda: finite)
        for name in self._groups:
            lead = "" if len(self._groups) == 1 else f"{name}/"
            metrics = {**metrics, f"{lead}loss": losses[name], f"{lead}grad_norm": norms[name]}
        metrics = {**metrics, "learning_rate": learning_rate, "finite": finite}
        self._metrics = list(metrics)
        return [tf.stack([tf.cast(value, "float32") for value in metrics.values()])]

    def _apply(self, gradients: Mapping[str, tf.Tensor], norms: Mapping[str, tf.Tensor]) -> tf.Tensor:
        for name, group in self._groups.items():
            group.apply(gradients[name], norms[name])
        self._step.assign_add(1)
        return tf.constant(True)

    def _name_everything(self) -> dict[str, Any]:
        nets = {f"nets/{name}": variable for name, variable in _named_variables(self.agent.nets).items()}
        optimizers = {
            f"optimizers/{group}/{name}": variable
            for group, member in self._groups.items()
            for name, variable in member.optimizer_variables().items()
        }
        return {**nets, **optimizers, "step": self._step}


class _Group:
    """The variables that one optimizer trains, laid end to end.

    Keras' optimizers add a dozen operations for each variable; on one flat vector they add a dozen in all,
    and a step is traced three times as fast. Each optimizer here works element by element, so the result
    is the same.
    """

    def __init__(self, agent: Agent, nets: Sequence[str], settings: OptimizerSettings) -> None:
        self._variables = [v.value for name in nets for v in agent.nets[name].trainable_variables]
        self._sizes = [int(np.prod(variable.shape)) for variable in self._variables]
        self._flat = keras.Variable(np.zeros(sum(self._sizes), np.float32), name="flat")
        self._clip_norm = settings.clip_norm
        self._optimizer = _optimizer(settings)
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
        """All but a learning rate, which is the settings' to give; by position, as Keras' names vary."""
        variables = [v for v in self._optimizer.variables if not v.path.endswith("/learning_rate")]
        return {str(index): variable.value for index, variable in enumerate(variables)}


class _Function:
    """A concrete function from numpy arrays to numpy arrays, called without TensorFlow's Python layers.

    Calling a `ConcreteFunction` itself costs about 100 us in Python, and `tf.constant` copies each array. Here
    the arrays' memory is lent to the call, and the function is run by its name in the eager context.

    Args:
      function: from tensors to a list of tensors.
      examples: arrays of the shapes and dtypes to compile for; the function is run once on them.
    """

    def __init__(self, function: Callable[..., list[tf.Tensor]], examples: Sequence[np.ndarray]) -> None:
        signature = [tf.TensorSpec(array.shape, array.dtype) for array in examples]
        compiled = tf.function(function, autograph=False)
        # Kept whole: the function lives only as long as its Python object.
        self._concrete = concrete = compiled.get_concrete_function(*signature)
        self._name = concrete._inference_function.name.decode()
        self._num_outputs = len(concrete.outputs)
        self._context = context.context()
        self._context.ensure_initialized()
        self._device = self._context.device_name
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
        results = execute.execute(self._name, self._num_outputs, tensors, (), self._context)
        outputs = [result._numpy() for result in results]
        for index in self._lent:
            outputs[index] = outputs[index].copy()
        return outputs

    def _outputs_in_input_memory(self, examples: Sequence[np.ndarray]) -> list[int]:
        """Which outputs are an input handed through: the caller may overwrite that memory, so they are copied."""
        arrays = [_aligned(array) for array in examples]
        outputs = self(arrays)
        return [i for i, out in enumerate(outputs) if any(np.may_share_memory(out, array) for array in arrays)]


class _Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
    """

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self._variables = dict(variables)
        self.spec: Spec = {
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
        given = {name: TensorSpec(value.shape, value.dtype.name) for name, value in values.items()}
        if unknown := sorted(given.keys() ^ self.spec.keys()):
            raise ValueError(f"the weights differ in {', '.join(unknown)}: present on one side alone")
        if reason := mismatch(self.spec, {name: given[name] for name in self.spec}):
            raise ValueError(f"the weights do not fit: {reason}")
        # Copies, since a variable may keep the very memory that it is assigned.
        arrays = [np.array(values[name]) for name in self.spec]
        if self._write is None:
            self._write = _Function(self._assign, arrays)
        else:
            self._write(arrays)

    def _pack(self) -> list[tf.Tensor]:
        return [
            tf.concat([tf.reshape(self._variables[name], [-1]) for name in names], axis=0)
            for names in self._by_dtype.values()
        ]

    def _assign(self, *values: tf.Tensor) -> list[tf.Tensor]:
        for variable, value in zip(self._variables.values(), values, strict=True):
            variable.assign(value)
        return []


def _caller(nets: Mapping[str, keras.Model]) -> Call:
    """Applies nets in inference mode, when training too: the learner's policy must be the one that acted."""

    def call(name: str, *inputs: Any) -> Any:
        return nets[name](*inputs, training=False)

    return call


def _clone(net: keras.Model) -> keras.Model:
    clone = keras.models.clone_model(net)
    clone.set_weights(net.get_weights())
    return clone


def _optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
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


def _joined(tensors: Sequence[Any]) -> tf.Tensor:
    return tf.concat([tf.cast(tf.reshape(tensor, [-1]), "float32") for tensor in tensors], axis=0)


def _named_variables(nets: Mapping[str, keras.Model]) -> dict[str, tf.Variable]:
    return {name: variable.value for name, variable in named_variables(nets).items()}


def _flatten(unroll: Unroll) -> list[np.ndarray]:
    """An unroll's arrays in a fixed order."""
    times = [unroll.reward, unroll.discount, unroll.step_type, unroll.version]
    return [*unroll.observation.values(), *unroll.output.values(), *times, *unroll.state.values()]


def _unflatten(agent: Agent, arrays: Sequence[tf.Tensor]) -> Unroll:
    spec, rest = agent.spec, iter(arrays)
    observation = {name: next(rest) for name in spec.observation}
    output = {name: next(rest) for name in spec.outputs}
    times = {name: next(rest) for name in TIME_SPEC}
    return Unroll(observation, output, **times, state={name: next(rest) for name in spec.state})


def _refused(agent: Agent, batch: int) -> Unroll:
    """An unroll of zeros whose rewards are no numbers: a training step refuses it and changes nothing."""
    spec, indices = agent.spec, agent.spec.unroll_length + 1
    observation = {name: leaf.zeros(indices, batch) for name, leaf in spec.observation.items()}
    output = {name: leaf.zeros(indices, batch) for name, leaf in spec.outputs.items()}
    times = {name: leaf.zeros(indices, batch) for name, leaf in TIME_SPEC.items()}
    times["reward"][:] = np.nan
    return Unroll(observation, output, **times, state={n: leaf.zeros(batch) for n, leaf in spec.state.items()})


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes, as memory must for TensorFlow to take it uncopied."""
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
