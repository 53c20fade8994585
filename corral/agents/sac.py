"""The SAC agent: an actor that is paid for its entropy too.

Haarnoja et al. 2018, "Soft actor-critic algorithms and applications".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
from keras import ops

from corral.agents.agent import Batch, Call, Group, Losses, Target, Tensor, Tensors
from corral.agents.continuous import ACTOR, ContinuousAgent
from corral.agents.distributions import Gaussian, SquashedGaussian
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec

_TEMPERATURE = "log_temperature"
_CRITICS = ("critic_1", "critic_2")
_LEAST_LOG_STD, _MOST_LOG_STD = -20.0, 2.0
_COLDEST = 1e-6


class SACAgent(ContinuousAgent):
    """A squashed normal policy with two critics and a temperature, fixed or keeping its entropy near a target.

    The one exploration number of a row multiplies the policy's deviation: 1 samples from it, 0 is greedy.
    """

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: Mapping[str, keras.Model] | None = None,
    ) -> None:
        size = action.size
        super().__init__(
            settings, observation, action, network, heads={"mean": size, "log_std": size}, critics=_CRITICS,
            steps=settings.sac.n_step, random_start=settings.sac.random_start, train_noise=size,
        )  # fmt: skip
        rate = settings.sac.actor_rate
        self.nets[_TEMPERATURE] = _number(math.log(settings.sac.initial_temperature))
        self.groups = {ACTOR: Group((ACTOR,), rate=rate), "critic": Group(_CRITICS)}
        if settings.sac.adapt_temperature:
            self.groups["temperature"] = Group((_TEMPERATURE,), rate=rate)
        self.targets = dict.fromkeys(_CRITICS, Target(settings.sac.polyak))
        wanted = settings.sac.target_entropy
        self._target_entropy = -float(size) if wanted is None else wanted

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """A sample of the policy."""
        policy = self._distribution(call, self._seen(call, observation))
        sharpened = policy.log_std + ops.log(ops.maximum(explore, _COLDEST))
        sample = Gaussian(policy.mean, sharpened).sample(noise)
        return {"action": self._explored(call, ops.tanh(sample), noise, explore)}, state

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """The soft Bellman residual, the policy's divergence and the temperature's (equations 5, 7 and 18)."""
        ahead = self._ahead(call, batch)
        log_temperature = ops.reshape(call(_TEMPERATURE, ops.ones((1, 1))), ())
        temperature = ops.stop_gradient(ops.exp(log_temperature))

        following = self._distribution(call, ahead.then)
        next_sample = following.sample(batch.noise[1])
        next_q = self._least_q(target, ahead.then, ops.tanh(next_sample))
        soft = next_q - temperature * following.log_prob(next_sample)
        goal = ahead.target.reward + ahead.target.discount * soft
        critic_loss, metrics, sizes = self._critic_losses(call, batch, ahead, goal)

        policy = self._distribution(call, ahead.now)
        sample = policy.sample(batch.noise[0])
        log_prob = policy.log_prob(sample)
        q = self._least_q(call, ahead.now, ops.tanh(sample))
        actor_loss = ops.mean(ahead.mask * (temperature * log_prob - q))
        metrics |= {"temperature": temperature, "entropy": -ops.mean(log_prob)}
        losses = {ACTOR: actor_loss, "critic": critic_loss}
        if "temperature" in self.groups:
            missing = ops.stop_gradient(-log_prob - self._target_entropy)
            # As its implementations do, by the logarithm itself: the gradient of equation 18, over the temperature.
            losses["temperature"] = ops.mean(ahead.mask * missing) * log_temperature
        return Losses(losses, metrics, sizes)

    def _distribution(self, call: Call, seen: Tensors) -> SquashedGaussian:
        out = self._actor(call, seen)
        return SquashedGaussian(out["mean"], ops.clip(out["log_std"], _LEAST_LOG_STD, _MOST_LOG_STD))


def _number(value: float) -> keras.Model:
    """A net that is one number, whatever it is asked."""
    one = keras.Input((1,), name="one")
    start = keras.initializers.Constant(value)
    number: Tensor = keras.layers.Dense(1, use_bias=False, kernel_initializer=start, name="number")(one)
    return keras.Model(one, number)
