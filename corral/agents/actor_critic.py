"""What the actor-critics share: one network with a policy and a value, evaluated a step or an unroll at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from corral.agents.agent import AgentBase, AgentSpec, Call, Group, Losses, Tensor, Tensors
from corral.agents.distributions import Distribution
from corral.agents.greedy import greedy_model
from corral.agents.own_network import extra_outputs
from corral.agents.policies import policy_for
from corral.agents.returns import VTrace, scale_rewards, vtrace
from corral.agents.settings import ActorCriticSettings, AgentSettings
from corral.agents.trunk import Trunk
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import StepType, Unroll

GROUP = "policy"


class ActorCritic(AgentBase):
    """Acts by a policy beside which stands the value of the state.

    The one exploration number of a row is the temperature of its policy: 1 samples from it, numbers below
    1 sharpen it, and 0 is greedy.

    Args:
      settings: how to learn, and what network to build.
      observation: leaf name -> spec.
      action: discrete, several discrete ones, or a vector of numbers.
      network: a model of the user's own, from the observation's leaves to a dictionary with what the policy needs
        ("logits" `[B, n]`; "mean" and "log_std" `[B, k]` of numbers), "value" `[B]` or `[B, 1]`, and anything else,
        which is stored with each step.
      further: what `AgentSpec` takes beside.

    Raises:
      ValueError: no policy gives such actions, or the network does not fit.
    """

    _normalizes = False
    """Whether advantages are normalised where the settings do not say."""

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: keras.Model | None = None,
        **further: Any,
    ) -> None:
        self._settings = settings
        self._policy = policy = policy_for(action, observation)
        needed = {**policy.heads, "value": None}
        self._trunk = trunk = Trunk(settings.network, observation, needed, network)
        extras = extra_outputs(network, observation, needed) if network is not None else {}
        self.nets: Mapping[str, keras.Model] = trunk.nets
        self.published = tuple(trunk.nets)
        self.groups: Mapping[str, Group] = {GROUP: Group(tuple(trunk.nets))}
        number = TensorSpec((), "float32")
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={"action": action, **policy.stored, "log_prob": number, "value": number, **extras},
            state=trunk.state,
            noise=policy.noise,
            explore=1,
            unroll_length=settings.unroll_length,
            **further,
        )

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """An action of each row, its log-probability under the policy as sampled, and the state's value."""
        out, state = self._trunk.step(call, observation, state)
        behaviour = self._policy.distribution(out, observation, explore[:, 0])
        sample = self._policy.draw(behaviour, noise)
        extras = {name: leaf for name, leaf in out.items() if name not in self._policy.heads and name != "value"}
        outputs = {
            **self._policy.outputs(sample),
            "log_prob": behaviour.log_prob(sample),
            "value": ops.reshape(out["value"], (-1,)),
            **extras,
        }
        return outputs, state

    def policy(self) -> keras.Model:
        """The greedy policy: "action", and beside it all that the network puts out."""

        def act(call: Call, observation: Tensors, state: Tensors) -> Tensors:
            out, state = self._trunk.step(call, observation, state)
            best = self._policy.outputs(self._policy.distribution(out, observation).mode())["action"]
            return {"action": best, **out, **state}

        return greedy_model(self.nets, self.spec.observation, self._trunk.state, act)

    def _evaluate(
        self, call: Call, unroll: Unroll, *, training: bool = False
    ) -> tuple[Distribution, Tensor, Tensor]:
        """The policy over transitions `[T, B]`, values of all indices `[T + 1, B]`, and which are transitions."""
        out = self._trunk.unroll(call, unroll, training=training)
        now = {name: out[name][:-1] for name in self._policy.heads}
        observation = {name: leaf[:-1] for name, leaf in unroll.observation.items()}
        mask = ops.cast(unroll.step_type[:-1] != StepType.LAST, "float32")
        values = ops.reshape(out["value"], unroll.reward.shape)
        return self._policy.distribution(now, observation), values, mask

    def _sample_of(self, unroll: Unroll) -> Tensor:
        """What was done in each transition, as the policy's distributions take it."""
        return self._policy.sample_of({name: leaf[:-1] for name, leaf in unroll.output.items()})

    def _returns(self, unroll: Unroll, values: Tensor, mask: Tensor, log_rhos: Tensor, **clips: float) -> VTrace:
        """Targets and advantages of the transitions; with ratios of 1 the generalised advantage."""
        settings = self._settings
        rewards, discounts = scale_rewards(unroll.reward[1:], settings), settings.discount * unroll.discount[1:]
        return vtrace(values, rewards, discounts, log_rhos, mask, lambda_=settings.actor_critic.lambda_, **clips)

    def _scaled(self, mask: Tensor, advantages: Tensor) -> Tensor:
        """Advantages as the policy's gradient takes them; what is masked means nothing."""
        wanted = self._settings.actor_critic.normalize_advantages
        if not (self._normalizes if wanted is None else wanted):
            return advantages
        middle = mean_over(mask, advantages)
        deviation = ops.sqrt(mean_over(mask, ops.square(advantages - middle)))
        return (advantages - middle) / (deviation + 1e-8)

    def _losses(
        self,
        step: Tensor,
        policy: Distribution,
        values: Tensor,
        mask: Tensor,
        *,
        policy_loss: Tensor,
        targets: Tensor,
        **metrics: Tensor,
    ) -> Losses:
        """The weighted sum of the policy's loss, the values' and the entropy bonus, each a mean over transitions.

        Args:
          targets: `[T, B]`: what the values should be.
          metrics: what else to report.
        """
        costs = self._settings.actor_critic
        value_loss = 0.5 * mean_over(mask, ops.square(targets - values[:-1]))
        entropy = mean_over(mask, policy.entropy())
        loss = policy_loss + costs.value_cost * value_loss - entropy_cost(costs, step) * entropy
        told = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return Losses({GROUP: loss}, {**told, "value": mean_over(mask, values[:-1]), **metrics})


def entropy_cost(settings: ActorCriticSettings, step: Tensor) -> Tensor | float:
    """The weight of the entropy bonus after `step` training steps."""
    if not settings.entropy_decay_steps:
        return settings.entropy_cost
    done = ops.minimum(ops.cast(step, "float32") / settings.entropy_decay_steps, 1.0)
    return settings.entropy_cost + done * (settings.final_entropy_cost - settings.entropy_cost)


def mean_over(mask: Tensor, each: Tensor) -> Tensor:
    """The mean of `each` where `mask` is 1; 0 where it is nowhere."""
    return ops.sum(mask * each) / ops.maximum(ops.sum(mask), 1.0)
