"""The PPO agent: several passes over each batch, none of which may move the policy far (Schulman et al. 2017)."""

from __future__ import annotations

import keras
from keras import ops

from corral.agents.actor_critic import ActorCritic, mean_over
from corral.agents.agent import Batch, Call, Losses, Tensors
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec


class PPOAgent(ActorCritic):
    """Policy and value, trained by the clipped objective on advantages that are made once a batch.

    It is asynchronous: the policy that acted may be older than the one that training began with. The ratio counts
    from the one that acted, whose log-probabilities come with the steps.
    """

    _normalizes = True

    def __init__(
        self, settings: AgentSettings, observation: Spec, action: TensorSpec, network: keras.Model | None = None
    ) -> None:
        number = TensorSpec((), "float32")
        super().__init__(
            settings,
            observation,
            action,
            network,
            prepared={"advantage": number, "target": number},
            epochs=settings.ppo.epochs,
            minibatches=settings.ppo.minibatches,
        )

    def prepare(self, call: Call, target: Call, batch: Batch) -> Tensors:
        """Generalised advantages (Schulman et al. 2016, equation 16), and what values should be."""
        _, values, mask = self._evaluate(call, batch.unroll)
        returns = self._returns(batch.unroll, values, mask, ops.zeros_like(mask))
        return {"advantage": returns.advantages, "target": returns.targets}

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """The clipped surrogate (equation 7), value and entropy (equation 9), each a mean over transitions."""
        settings, unroll, prepared = self._settings, batch.unroll, batch.prepared
        policy, values, mask = self._evaluate(call, unroll, training=True)
        log_ratio = mask * (policy.log_prob(self._sample_of(unroll)) - unroll.output["log_prob"][:-1])
        ratio = ops.exp(log_ratio)
        advantage = self._scaled(mask, prepared["advantage"])
        within = ops.clip(ratio, 1.0 - settings.ppo.clip, 1.0 + settings.ppo.clip)
        return self._losses(
            batch.step,
            policy,
            values,
            mask,
            policy_loss=-mean_over(mask, ops.minimum(ratio * advantage, within * advantage)),
            targets=prepared["target"],
            kl=mean_over(mask, ratio - 1.0 - log_ratio),
            clipped=mean_over(mask, ops.cast(ops.abs(ratio - 1.0) > settings.ppo.clip, "float32")),
        )
