"""The V-trace agent: an actor-critic that learns from slightly stale actions (IMPALA, Espeholt et al. 2018)."""

from __future__ import annotations

from keras import ops

from corral.agents.actor_critic import ActorCritic, mean_over
from corral.agents.agent import Batch, Call, Losses


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
        clips = settings.vtrace
        returns = self._returns(
            unroll,
            values,
            mask,
            ops.zeros_like(log_rhos) if settings.name == "a2c" else log_rhos,
            clip_rho=clips.clip_rho,
            clip_c=clips.clip_c,
            clip_pg_rho=clips.clip_pg_rho,
        )
        advantages = self._scaled(mask, returns.advantages)
        rhos = ops.exp(log_rhos)
        return self._losses(
            batch.step,
            policy,
            values,
            mask,
            policy_loss=-mean_over(mask, advantages * log_probs),
            targets=returns.targets,
            rho=mean_over(mask, rhos),
            # How far the policy has moved since it acted, KL(mu || pi), by an estimate that is never negative.
            kl=mean_over(mask, rhos - 1.0 - log_rhos),
        )
