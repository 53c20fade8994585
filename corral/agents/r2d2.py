"""The R2D2 agent: Q-learning with memory, from replayed sequences (Kapturowski et al. 2019)."""

from __future__ import annotations

import keras
from keras import ops

from corral.agents.agent import Batch, Call, Losses, Tensor
from corral.agents.dqn import GROUP, QAgent, huber
from corral.agents.returns import at_index, n_step, scale_rewards, squash, unsquash
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import StepType


class R2D2Agent(QAgent):
    """Learns from whole unrolls, whose first transitions only warm the recurrent state.

    The state that is stored is the one that precedes an unroll's first index, burn-in included. An unroll shares
    its burn-in with the one before, so that every transition is trained on.
    """

    def __init__(
        self, settings: AgentSettings, observation: Spec, action: TensorSpec, network: keras.Model | None = None
    ) -> None:
        if not settings.network.core or network is not None:
            raise ValueError('name = "r2d2" has a memory: set agent.network.core to "lstm" or "gru"')
        burn_in = settings.r2d2.burn_in
        if burn_in >= settings.unroll_length:
            raise ValueError(
                f"r2d2.burn_in must be less than unroll_length ({settings.unroll_length}), not {burn_in}"
            )
        super().__init__(settings, observation, action, overlap=burn_in + 1, burn_in=burn_in)

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Temporal differences behind the burn-in, on the squashed scale (section 2.3 of the paper)."""
        settings, unroll, start = self._settings, batch.unroll, self.spec.burn_in
        online = self._q(self._trunk.unroll(call, unroll, burn_in=start), dict(unroll.observation))
        slow = self._q(self._trunk.unroll(target, unroll, burn_in=start), dict(unroll.observation))
        taken = self._taken(online[:-1], {name: leaf[:-1] for name, leaf in unroll.output.items()})[start:]
        worth = self._worth(online, slow)
        goal = ops.stop_gradient(self._squashed(self._goals(batch, self._unsquashed(worth))[start:]))
        mask = ops.cast(unroll.step_type[start:-1] != StepType.LAST, "float32")
        error = mask * (goal - taken)
        each = ops.sum(huber(error), axis=0) / ops.maximum(ops.sum(mask, axis=0), 1.0)
        loss = ops.mean(batch.weights * each)
        size = ops.abs(error)
        mean = ops.sum(size, axis=0) / ops.maximum(ops.sum(mask, axis=0), 1.0)
        share = settings.r2d2.priority_max
        priorities = share * ops.max(size, axis=0) + (1.0 - share) * mean
        metrics = {"q": ops.mean(self._unsquashed(taken)), "td_error": ops.mean(mean)}
        return Losses({GROUP: loss}, metrics, priorities)

    def _goals(self, batch: Batch, worth: Tensor) -> Tensor:
        """The n-step target of every transition, `[T, B]`; those near the end of the unroll look less far ahead.

        Args:
          worth: `[T + 1, B]`: the value of every index.
        """
        settings, unroll, steps = self._settings, batch.unroll, self._settings.dqn.n_step
        length = self.spec.unroll_length
        rewards = scale_rewards(unroll.reward, settings)
        # The last index ends every target that comes so far, as the end of an episode does.
        ends = ops.concatenate(
            [unroll.step_type[:-1], ops.full_like(unroll.step_type[-1:], int(StepType.LAST))], axis=0
        )

        def windows(leaf: Tensor) -> Tensor:
            """`[steps + 1, T, B]`: what lies 0 to `steps` indices ahead of each."""
            padded = ops.concatenate([leaf, *([leaf[-1:]] * (steps - 1))], axis=0) if steps > 1 else leaf
            return ops.stack([padded[ahead : ahead + length] for ahead in range(steps + 1)])

        ahead = n_step(windows(rewards), windows(unroll.discount), windows(ends), settings.discount)
        batch_size = ahead.end.shape[1]
        at = ops.reshape(ahead.end + ops.arange(length, dtype="int32")[:, None], (-1,))
        # Every (transition, sequence) as a column of its own, of the values of that sequence.
        columns = ops.reshape(ops.broadcast_to(worth[:, None], (length + 1, length, batch_size)), (length + 1, -1))
        return ahead.reward + ahead.discount * ops.reshape(at_index(columns, at), (length, batch_size))

    def _squashed(self, value: Tensor) -> Tensor:
        return squash(value) if self._settings.r2d2.rescale else value

    def _unsquashed(self, value: Tensor) -> Tensor:
        return unsquash(value) if self._settings.r2d2.rescale else value
