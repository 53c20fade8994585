"""What the agents of continuous actions share: an actor, critics of its actions, and targets n steps ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents.agent import AgentBase, AgentSpec, Batch, Call, Group, Target, Tensor, Tensors
from corral.agents.greedy import greedy_model
from corral.agents.lookahead import Ahead, check_window, look_ahead
from corral.agents.networks import NORM, build_network, build_normalizer, feed, normalized
from corral.agents.own_network import extra_outputs
from corral.agents.policies import ActionScale
from corral.agents.random_start import TRAINED, at_random, begin, build_trained
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec

ACTOR = "actor"
TAKEN = "action"
"""The input of a critic that is an action, -1 to 1."""


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
      random_start: act at random until training begins.
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
        random_start: bool,
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
        if random_start:
            self.nets[TRAINED] = build_trained()
        self.published = tuple(name for name in (NORM, ACTOR, TRAINED) if name in self.nets)
        self.groups: dict[str, Group] = {}
        self.targets: dict[str, Target] = {}
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={"action": action},
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

        def act(call: Call, observation: Tensors, state: Tensors) -> Tensors:
            out = self._actor(call, self._seen(call, observation))
            return {"action": self._outward(ops.tanh(out["mean"])), **out}

        # What drifts as recurrent state is noise, of which a greedy policy has none.
        return greedy_model(self.nets, self.spec.observation, {}, act)

    def _ahead(self, call: Call, batch: Batch) -> Ahead:
        """What the sequences say of their first transitions; the observations as the networks get them."""
        if TRAINED in self.nets:
            begin(call)
        ahead = look_ahead(batch.unroll, self._settings)
        return ahead._replace(now=self._seen(call, ahead.now, training=True), then=self._seen(call, ahead.then))

    def _seen(self, call: Call, observation: Tensors, *, training: bool = False) -> Tensors:
        """Observations as the networks get them."""
        return normalized(call, self.nets, observation, training=training)

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
        done = self.scale.inward(ops.reshape(batch.unroll.output["action"][0], (-1, self._size)))
        goal, total, sizes = ops.stop_gradient(goal), 0.0, ops.zeros_like(goal)
        for critic in self._critics:
            error = ahead.mask * (goal - self._q(call, critic, ahead.now, done))
            total = total + ops.mean(batch.weights * ops.square(error))
            sizes = ops.maximum(sizes, ops.abs(error))
        return total, {"q": ops.mean(goal), "td_error": ops.mean(sizes)}, sizes

    def _explored(self, call: Call, inside: Tensor, noise: Tensor, explore: Tensor) -> Tensor:
        """Actions for environments: those `inside`, -1 to 1; at random where there is nothing yet to act by."""
        if TRAINED in self.nets:
            inside = ops.where(at_random(call, explore), 2.0 * noise - 1.0, inside)
        return self._outward(inside)

    def _outward(self, inside: Tensor) -> Tensor:
        assert self.spec.action is not None
        action = self.scale.outward(inside)
        return ops.reshape(action, (-1, *self.spec.action.shape))


def check_bounded(scale: ActionScale, settings: AgentSettings, action: TensorSpec) -> None:
    """Raises `ValueError` for actions that are not numbers within bounds."""
    if np.dtype(action.dtype).kind != "f" or not scale.bounded:
        raise ValueError(
            f"{settings.name} takes a vector of numbers, each with both bounds, not {action}; "
            "docs/algorithms.md says what others take (agent.name)"
        )


def _own(network: Any, name: str) -> tuple[keras.Model, keras.Model]:
    if not isinstance(network, Mapping) or set(network) != {ACTOR, "critic"}:
        raise ValueError(
            f'{name} takes two networks: build them in one function that returns {{"actor": ..., "critic": ...}}'
        )
    return network[ACTOR], network["critic"]
