"""The DDPG and TD3 agents: a deterministic actor that climbs its critics.

Lillicrap et al. 2016, "Continuous control with deep reinforcement learning"; Fujimoto et al. 2018, "Addressing
function approximation error in actor-critic methods".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from corral.agents.agent import Batch, Call, Group, Losses, Target, Tensor, Tensors
from corral.agents.continuous import ACTOR, ContinuousAgent
from corral.agents.distributions import normal
from corral.agents.lookahead import Ahead
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec

_DRIFT = "drift"


class DDPGAgent(ContinuousAgent):
    """A deterministic actor with one critic, n-step targets, and noise on its actions.

    The one exploration number of a row multiplies the noise; 0 is greedy. Ornstein-Uhlenbeck noise drifts from step
    to step, and begins at 0 with each episode: it is the agent's recurrent state.
    """

    _critic_names: tuple[str, ...] = ("critic",)

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: Mapping[str, keras.Model] | None = None,
        **further: Any,
    ) -> None:
        self._drifts = settings.ddpg.noise == "ornstein_uhlenbeck"
        drift = {_DRIFT: TensorSpec((action.size,), "float32")} if self._drifts else {}
        super().__init__(
            settings, observation, action, network, heads={"mean": action.size}, critics=self._critic_names,
            steps=settings.ddpg.n_step, random_start=settings.ddpg.random_start, state=drift, **further,
        )  # fmt: skip
        every = self._delay()
        self.groups = {
            ACTOR: Group((ACTOR,), every, settings.ddpg.actor_rate),
            "critic": Group(self._critic_names),
        }
        self.targets = dict.fromkeys((ACTOR, *self._critic_names), Target(settings.ddpg.polyak, every))

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """The actor's action, with noise, within bounds."""
        settings = self._settings.ddpg
        mean = ops.tanh(self._actor(call, self._seen(call, observation))["mean"])
        kick = settings.sigma * normal(noise)
        if self._drifts:
            # Equation of Uhlenbeck and Ornstein 1930, in steps of 1.
            kick = (1.0 - settings.theta) * state[_DRIFT] + kick
            state = {_DRIFT: kick}
        inside = ops.clip(mean + explore * kick, -1.0, 1.0)
        return {"action": self._explored(call, inside, noise, explore)}, state

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Temporal differences for the critics, and the critic's opinion for the actor (equations 4 and 6)."""
        ahead = self._ahead(call, batch)
        following = self._target_action(target, ahead, batch.noise)
        goal = ahead.target.reward + ahead.target.discount * self._least_q(target, ahead.then, following)
        critic_loss, metrics, sizes = self._critic_losses(call, batch, ahead, goal)
        action = ops.tanh(self._actor(call, ahead.now)["mean"])
        actor_loss = -ops.mean(ahead.mask * self._q(call, self._critics[0], ahead.now, action))
        return Losses({ACTOR: actor_loss, "critic": critic_loss}, metrics, sizes)

    def _delay(self) -> int:
        """Training steps of the critic to one of the actor and the slow copies."""
        return 1

    def _target_action(self, target: Call, ahead: Ahead, noise: Tensor) -> Tensor:
        return ops.tanh(self._actor(target, ahead.then)["mean"])


class TD3Agent(DDPGAgent):
    """DDPG with two critics, of which the less confident counts; an actor that follows later; and targets whose
    actions are blurred (Fujimoto et al. 2018, sections 4 and 5)."""

    _critic_names = ("critic_1", "critic_2")

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: Mapping[str, keras.Model] | None = None,
    ) -> None:
        self._td3 = settings.td3
        super().__init__(settings, observation, action, network, train_noise=action.size)

    def _delay(self) -> int:
        return self._td3.delay

    def _target_action(self, target: Call, ahead: Ahead, noise: Tensor) -> Tensor:
        limit = self._td3.smoothing_clip
        blur = ops.clip(self._td3.smoothing * normal(noise[0]), -limit, limit)
        return ops.clip(super()._target_action(target, ahead, noise) + blur, -1.0, 1.0)
