"""What the agents of continuous actions share: an actor, critics of its actions, and targets n steps ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from corral.agents.agent import AgentBase, AgentSpec, Batch, Call, Group, Target, Tensor, Tensors
from corral.agents.dqn import check_window
from corral.agents.networks import build_network, build_normalizer, feed, input_name, keras_input
from corral.agents.own_network import extra_outputs
from corral.agents.policies import ActionScale
from corral.agents.returns import NStep, at_index, clip_rewards, n_step
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import StepType

ACTOR, NORM = "actor", "norm"
TAKEN = "action"
"""The input of a critic that is an action, -1 to 1."""


class Ahead(NamedTuple):
    """The first transition of each sequence, and where its target ends.

    Attributes:
      now, then: observation leaves `[B, ...]`, normalised: at the first index, and where the target ends.
      action: float32 `[B, k]`, -1 to 1: what was done at the first.
      target: the rewards up to the end, and what the value there is worth.
      mask: float32 `[B]`: 0 where the first index is the end of an episode, so that nothing was done.
    """

    now: Tensors
    then: Tensors
    action: Tensor
    target: NStep
    mask: Tensor


class ContinuousAgent(AgentBase):
    """An actor and critics of vectors of numbers within bounds; the actor's first output is the action before tanh.

    Args:
      settings: how to learn, and what networks to build.
      observation: leaf name -> spec.
      action: a vector of numbers with bounds.
      network: networks of the user's own: "actor" and "critic" -> model. The actor makes a dictionary with `heads`
        of the observation's leaves; the critic one with "q" `[B]` of these and a leaf "action" `[B, k]`, -1 to 1.
      heads: outputs of the actor -> width.
      critics: their names.
      steps: rewards that a target adds up.
      further: what `AgentSpec` takes beside.

    Raises:
      ValueError: the actions are others, or the networks do not fit.
    """

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: Mapping[str, keras.Model] | None,
        *,
        heads: Mapping[str, int],
        critics: tuple[str, ...],
        steps: int,
        stored: Spec | None = None,
        **further: Any,
    ) -> None:
        self.scale = ActionScale(action)
        check_bounded(self.scale, settings, action)
        if settings.network.core:
            raise ValueError(f"{settings.name} has no memory: leave agent.network.core empty")
        if TAKEN in observation:
            raise ValueError(f'{settings.name} cannot take an observation with a leaf called "{TAKEN}": rename it')
        check_window(settings, steps)
        self._settings = settings
        self._critics = critics
        self._size = action.size
        with_action = {**observation, TAKEN: TensorSpec((action.size,), "float32")}
        self.nets: dict[str, keras.Model] = {}
        if settings.network.normalize:
            self.nets[NORM] = build_normalizer(observation)
        if network is None:
            self.nets[ACTOR] = build_network(settings.network, observation, heads)
            self.nets |= {name: build_network(settings.network, with_action, {"q": None}) for name in critics}
        else:
            actor, critic = _own(network, settings.name)
            extra_outputs(actor, observation, heads, "the actor")
            extra_outputs(critic, with_action, {"q": None}, "the critic")
            self.nets[ACTOR] = actor
            # Copies draw weights of their own: two critics that begin alike would stay alike.
            self.nets |= {
                name: keras.models.clone_model(critic) if name != critics[0] else critic for name in critics
            }
        self.published = tuple(name for name in (NORM, ACTOR) if name in self.nets)
        self.groups: dict[str, Group] = {}
        self.targets: dict[str, Target] = {}
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={"action": action, **(stored or {})},
            explore=1,
            noise=action.size,
            unroll_length=settings.unroll_length,
            overlap=steps,
            sample_length=steps,
            replay=True,
            **further,
        )

    def policy(self) -> keras.Model:
        """The greedy policy: "action", and beside it all that the actor puts out."""
        inputs = {name: keras_input(name, leaf) for name, leaf in self.spec.observation.items()}

        def call(name: str, *x: Any, training: bool = False) -> Any:
            return self.nets[name](*x)

        out = self._actor(call, self._seen(call, inputs))
        action = self._outward(ops.tanh(out[self._greedy_head]))
        return keras.Model({tensor.name: tensor for tensor in inputs.values()}, {"action": action, **out})

    _greedy_head = "mean"

    def _ahead(self, call: Call, batch: Batch) -> Ahead:
        settings, unroll = self._settings, batch.unroll
        rewards = clip_rewards(unroll.reward, settings.reward_clip) * settings.reward_scale
        target = n_step(rewards, unroll.discount, unroll.step_type, settings.discount)
        now = {name: leaf[0] for name, leaf in unroll.observation.items()}
        then = {name: at_index(leaf, target.end) for name, leaf in unroll.observation.items()}
        action = ops.reshape(self.scale.inward(self._flat(unroll.output["action"][0])), (-1, self._size))
        mask = ops.cast(unroll.step_type[0] != StepType.LAST, "float32")
        return Ahead(self._seen(call, now, training=True), self._seen(call, then), action, target, mask)

    def _seen(self, call: Call, observation: Tensors, *, training: bool = False) -> Tensors:
        """Observations as the networks get them."""
        if NORM not in self.nets:
            return observation
        out = call(NORM, feed(self.nets[NORM], observation), training=training)
        return {name: out[input_name(name)] for name in observation}

    def _actor(self, call: Call, seen: Tensors) -> Tensors:
        out = dict(call(ACTOR, feed(self.nets[ACTOR], seen)))
        return {name: ops.cast(leaf, "float32") for name, leaf in out.items()}

    def _q(self, call: Call, critic: str, seen: Tensors, action: Tensor) -> Tensor:
        out = call(critic, feed(self.nets[critic], {**seen, TAKEN: action}))
        return ops.reshape(ops.cast(out["q"], "float32"), (-1,))

    def _least_q(self, call: Call, seen: Tensors, action: Tensor) -> Tensor:
        """The least that any critic says (Fujimoto et al. 2018, section 4.2)."""
        least = self._q(call, self._critics[0], seen, action)
        for critic in self._critics[1:]:
            least = ops.minimum(least, self._q(call, critic, seen, action))
        return least

    def _critic_losses(
        self, call: Call, batch: Batch, ahead: Ahead, goal: Tensor
    ) -> tuple[Tensor, Tensors, Tensor]:
        """The sum of the critics' losses, metrics, and how far each sequence was off."""
        goal, total, sizes = ops.stop_gradient(goal), 0.0, ops.zeros_like(goal)
        for critic in self._critics:
            error = ahead.mask * (goal - self._q(call, critic, ahead.now, ahead.action))
            total = total + ops.mean(batch.weights * ops.square(error))
            sizes = ops.maximum(sizes, ops.abs(error))
        return total, {"q": ops.mean(goal), "td_error": ops.mean(sizes)}, sizes

    def _outward(self, inside: Tensor) -> Tensor:
        assert self.spec.action is not None
        action = self.scale.outward(inside)
        return ops.reshape(action, (-1, *self.spec.action.shape))

    def _flat(self, action: Tensor) -> Tensor:
        return ops.reshape(action, (-1, self._size))


def check_bounded(scale: ActionScale, settings: AgentSettings, action: TensorSpec) -> None:
    """Raises `ValueError` for actions that are not numbers within bounds."""
    if np.dtype(action.dtype).kind != "f" or not scale.bounded:
        raise ValueError(f"{settings.name} takes a vector of numbers, each with both bounds, not {action}")


def _own(network: Any, name: str) -> tuple[keras.Model, keras.Model]:
    if not isinstance(network, Mapping) or set(network) != {ACTOR, "critic"}:
        raise ValueError(
            f'{name} takes two networks: build them in one function that returns {{"actor": ..., "critic": ...}}'
        )
    return network[ACTOR], network["critic"]
