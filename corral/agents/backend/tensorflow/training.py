"""Training on TensorFlow: gradients by tape, variables changed in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from corral.agents.agent import Agent, Call, Group, Target
from corral.agents.backend.nets import caller, clone_net
from corral.agents.backend.optimizers import make_optimizer, optimizer_state
from corral.agents.backend.tensorflow.devices import training_devices
from corral.agents.backend.tensorflow.function import Function
from corral.agents.backend.tensorflow.variables import Variables, tf_variables
from corral.agents.backend.towers import Towers
from corral.agents.backend.trainer import TrainerBase, as_batch, name_everything
from corral.agents.settings import Count, OptimizerSettings
from corral.agents.weights import published_nets


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
        self._published = Variables(tf_variables(published_nets(agent)))
        optimizers = {name: group.optimizer_variables() for name, group in self._groups.items()}
        nets, targets = tf_variables(agent.nets), tf_variables(self._slow)
        self._everything = Variables(name_everything(nets, targets, optimizers, self._step))

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        function = Function(self._train, examples)
        function.choose_executor(examples)  # on batches that are refused, like the first: nothing changes
        return function

    def _compile_preparation(self, examples: Sequence[np.ndarray]) -> Function:
        return Function(self._prepare, examples)

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
