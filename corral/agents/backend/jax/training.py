"""Training on JAX: a step takes the values of all variables, and leaves new ones in their place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from corral.agents.agent import Agent, Group, Losses, Tensor
from corral.agents.backend.jax.devices import training_devices
from corral.agents.backend.jax.functions import Updates, assign, compiled, in_place_of, split, values_of
from corral.agents.backend.jax.variables import Variables
from corral.agents.backend.nets import caller, clone_net
from corral.agents.backend.optimizers import make_optimizer, optimizer_state
from corral.agents.backend.replica import Function
from corral.agents.backend.trainer import TrainerBase, as_batch, name_everything
from corral.agents.settings import Count, OptimizerSettings
from corral.agents.weights import named_variables, published_nets


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
        published = published_nets(agent)
        self._published = Variables(named_variables(published), place=place)
        optimizers = {name: optimizer_state(group.optimizer) for name, group in self._groups.items()}
        nets, targets = named_variables(agent.nets), named_variables(self._slow)
        self._everything = Variables(name_everything(nets, targets, optimizers, self._step), place=place)
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
        executable = compiled(self._train, [*values_of(variables), *examples], **self._shardings(self._axes()))

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            results, updates = executable(*values_of(variables), *arrays)
            assign(variables, updates)
            return [np.asarray(result) for result in results]

        run(examples)
        return run

    def _compile_preparation(self, examples: Sequence[np.ndarray]) -> Function:
        variables = self._variables
        shardings = self._shardings(self._axes(prepared=False))
        executable = compiled(self._prepare, [*values_of(variables), *examples], **shardings)

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [np.asarray(result) for result in executable(*values_of(variables), *arrays)]

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
        values, arrays = split(arguments, len(self._variables))
        with in_place_of(self._variables, values):
            batch = as_batch(self.agent.spec, arrays, self._step.value, prepared=False)
            made = self.agent.prepare(caller(self.agent.nets), caller(self._slow), batch)
        return [jnp.asarray(made[name], leaf.dtype) for name, leaf in self.agent.spec.prepared.items()]

    def _train(self, *arguments: Tensor) -> tuple[list[Tensor], Updates]:
        """Packed metrics, and priorities; and what a step changes: to what it was, where it is not finite."""
        values, arrays = split(arguments, len(self._variables))
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
    ) -> tuple[Tensor, tuple[Losses, Updates]]:
        """The loss of group `name`, a function of the group's `own` values; beside it all that the agent gave, and
        what the nets changed."""
        values = list(values)
        for place, value in zip(self._places_of(self._groups[name].variables), own, strict=True):
            values[place] = value
        with in_place_of(self._variables, values) as updates:
            batch = as_batch(self.agent.spec, arrays, self._step.value)
            losses = self.agent.losses(caller(self.agent.nets), caller(self._slow), batch)
        # Ordered: JAX sorts the names of plain dictionaries.
        return losses.groups[name], (losses._replace(metrics=OrderedDict(losses.metrics)), updates)

    def _stepped(
        self, values: Sequence[Tensor], gradients: Mapping[str, Tensor], norms: Mapping[str, Tensor]
    ) -> Updates:
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

    def _followed(self, values: Sequence[Tensor], before: Sequence[Tensor]) -> Updates:
        """What the slow copies become when the nets have become `values`."""
        updates: Updates = {}
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
        with in_place_of(self._variables, values):
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


def _distinct(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    return list({id(variable): variable for variable in variables}.values())


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return jnp.concatenate([jnp.asarray(tensor, "float32").reshape(-1) for tensor in tensors])
