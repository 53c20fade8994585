"""The V-trace agent: an actor-critic that learns from slightly stale actions (IMPALA, Espeholt et al. 2018)."""

from __future__ import annotations

from typing import Any

from keras import ops

from corral.agents.actor_critic import GROUP, ActorCritic, entropy_cost, mean_over
from corral.agents.agent import Batch, Call, Losses, Tensor
from corral.agents.returns import clip_rewards, vtrace


class VTraceAgent(ActorCritic):
    """Policy and value, trained by V-trace.

    As "a2c" it is the synchronous advantage actor-critic (A3C without its threads, Mnih et al. 2016): all that was
    done counts as if the present policy had done it, which V-trace comes to where nothing is stale.
    """

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Policy gradient, value and entropy (section 4.2 of the paper), each a mean over transitions."""
        settings, unroll = self._settings, batch.unroll
        policy, values, mask = self._evaluate(call, unroll, training=True)
        log_probs = policy.log_prob(self._sample_of(unroll))
        # At LAST nobody acted: the stored log-probability is no number of ours, so the ratio there is 1.
        log_rhos = mask * (ops.stop_gradient(log_probs) - unroll.output["log_prob"][:-1])
        returns = vtrace(
            values,
            clip_rewards(unroll.reward[1:], settings.reward_clip) * settings.reward_scale,
            settings.discount * unroll.discount[1:],
            ops.zeros_like(log_rhos) if settings.name == "a2c" else log_rhos,
            mask,
            clip_rho=settings.vtrace.clip_rho,
            clip_c=settings.vtrace.clip_c,
            clip_pg_rho=settings.vtrace.clip_pg_rho,
            lambda_=settings.actor_critic.lambda_,
        )

        def mean(each: Tensor) -> Any:
            return mean_over(mask, each)

        policy_loss = -mean(returns.advantages * log_probs)
        value_loss = 0.5 * mean(ops.square(returns.targets - values[:-1]))
        entropy = mean(policy.entropy())
        rhos = ops.exp(log_rhos)
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "value": mean(values[:-1]),
            "rho": mean(rhos),
            # How far the policy has moved since it acted, KL(mu || pi), by an estimate that is never negative.
            "kl": mean(rhos - 1.0 - log_rhos),
        }
        costs = settings.actor_critic
        loss = policy_loss + costs.value_cost * value_loss - entropy_cost(costs, batch.step) * entropy
        return Losses({GROUP: loss}, metrics)
