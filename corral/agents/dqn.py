"""The DQN agent: Q-learning of one discrete action (Mnih et al. 2015), double, dueling, n-step and distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents.agent import AgentBase, AgentSpec, Batch, Call, Group, Losses, Target, Tensor, Tensors
from corral.agents.distributions import Categorical
from corral.agents.greedy import greedy_model
from corral.agents.lookahead import check_window, look_ahead
from corral.agents.own_network import extra_outputs
from corral.agents.policies import DiscretePolicy, masked, policy_for
from corral.agents.settings import AgentSettings
from corral.agents.trunk import Trunk
from corral.protocol.specs import Spec, TensorSpec

GROUP = "q"


class QAgent(AgentBase):
    """Acts by Q-values, and at random with a probability that is the one exploration number of a row; 0 is greedy.

    Environments stand on a ladder of such probabilities, as in Ape-X (Horgan et al. 2018, section 4): the i-th of N
    explores with epsilon^(1 + alpha i / (N - 1)).

    Args:
      settings: how to learn, and what network to build.
      observation: leaf name -> spec.
      action: one discrete action.
      network: a model of the user's own, from the observation's leaves to a dictionary with "q" `[B, n]`.
      further: what `AgentSpec` takes beside.

    Raises:
      ValueError: the actions are not one discrete choice, or the network does not fit.
    """

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: keras.Model | None = None,
        **further: Any,
    ) -> None:
        policy = policy_for(action, observation)
        if not isinstance(policy, DiscretePolicy):
            raise ValueError(
                f"{settings.name} takes one discrete action (an integer, shape [], both bounds), not {action}; "
                "docs/algorithms.md says what others take (agent.name)"
            )
        self._settings = settings
        self._policy = policy
        self._actions = policy.heads["logits"]
        outputs: dict[str, int | None] = {"q": self._actions}
        if network is not None:
            extra_outputs(network, observation, outputs)
        elif settings.dqn.dueling:
            outputs = {"advantage": self._actions, "value": None}
        self._trunk = trunk = Trunk(settings.network, observation, outputs, network)
        self.nets: Mapping[str, keras.Model] = trunk.nets
        self.published = tuple(trunk.nets)
        self.groups: Mapping[str, Group] = {GROUP: Group(tuple(trunk.nets))}
        copied = Target(rate=1.0, every=settings.dqn.target_every)
        self.targets: Mapping[str, Target] = dict.fromkeys(trunk.nets, copied)
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={"action": action},
            state=trunk.state,
            noise=2,
            explore=1,
            unroll_length=settings.unroll_length,
            replay=True,
            **further,
        )

    def exploration(self, environment: np.ndarray) -> np.ndarray:
        """Each environment's rung of the ladder."""
        settings = self._settings.dqn
        height = environment % settings.rungs / max(settings.rungs - 1, 1)
        epsilon = settings.epsilon ** (1 + height * settings.epsilon_power)
        return epsilon.astype(np.float32)[:, None]

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """The action of the highest Q-value, or now and then any."""
        out, state = self._trunk.step(call, observation, state)
        q = self._q(out, observation)
        anything = Categorical(masked(ops.zeros_like(q), observation)).sample(noise[:, 1])
        best = ops.cast(ops.argmax(q, axis=-1), "int32")
        return self._policy.outputs(ops.where(noise[:, 0] < explore[:, 0], anything, best)), state

    def policy(self) -> keras.Model:
        """The greedy policy: "action", and beside it the Q-values, "q"."""

        def act(call: Call, observation: Tensors, state: Tensors) -> Tensors:
            out, state = self._trunk.step(call, observation, state)
            q = self._q(out, observation)
            action = self._policy.outputs(ops.cast(ops.argmax(q, axis=-1), "int32"))["action"]
            return {"action": action, "q": q, **state}

        return greedy_model(self.nets, self.spec.observation, self._trunk.state, act)

    def _q(self, out: Tensors, observation: Tensors) -> Tensor:
        """Q-values `[..., n]`; those of actions that are ruled out are very low."""
        if "q" in out:
            return masked(out["q"], observation)
        # Equation 9 of Wang et al. 2016: advantages are told against their mean.
        advantage = out["advantage"]
        q = out["value"][..., None] + advantage - ops.mean(advantage, axis=-1, keepdims=True)
        return masked(q, observation)

    def _taken(self, q: Tensor, output: Tensors) -> Tensor:
        """The Q-values of what was done: `[...]` of `[..., n]`."""
        return self._of(q, self._policy.sample_of(output))

    def _worth(self, online: Tensor, slow: Tensor) -> Tensor:
        """The value of a state, `[...]`, from its Q-values of the trained network and of the slow copy."""
        if not self._settings.dqn.double:
            return ops.max(slow, axis=-1)
        return self._of(slow, ops.argmax(online, axis=-1))

    def _of(self, q: Tensor, index: Tensor) -> Tensor:
        """The Q-values of the actions `index`: `[...]` of `[..., n]`."""
        return ops.sum(ops.where(ops.one_hot(index, self._actions, dtype="bool"), q, 0.0), axis=-1)


class DQNAgent(QAgent):
    """Learns from single transitions and the n steps behind them, drawn from a replay."""

    def __init__(
        self, settings: AgentSettings, observation: Spec, action: TensorSpec, network: keras.Model | None = None
    ) -> None:
        if settings.network.core:
            raise ValueError('name = "dqn" has no memory: use name = "r2d2" with agent.network.core')
        check_window(settings, settings.dqn.n_step)
        steps = settings.dqn.n_step
        super().__init__(settings, observation, action, network, overlap=steps, sample_length=steps)

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Huber's loss of temporal differences (Mnih et al. 2015), each weighed as replay says."""
        ahead = look_ahead(batch.unroll, self._settings)
        done = {name: leaf[0] for name, leaf in batch.unroll.output.items()}
        taken = self._taken(self._values(call, ahead.now), done)
        worth = self._worth(self._values(call, ahead.then), self._values(target, ahead.then))
        goal = ops.stop_gradient(ahead.target.reward + ahead.target.discount * worth)
        error = ahead.mask * (goal - taken)
        loss = ops.mean(batch.weights * huber(error))
        metrics = {"q": ops.mean(taken), "td_error": ops.mean(ops.abs(error))}
        return Losses({GROUP: loss}, metrics, ops.abs(error))

    def _values(self, call: Call, observation: Tensors) -> Tensor:
        out, _ = self._trunk.step(call, observation, {})
        return self._q(out, observation)


def huber(error: Tensor) -> Tensor:
    """Half the square up to 1, straight beyond."""
    size = ops.abs(error)
    return ops.where(size <= 1.0, 0.5 * ops.square(error), size - 0.5)
