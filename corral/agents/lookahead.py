"""The first transition of each sequence that a replay draws, and the n steps behind it that it is judged by."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from corral.agents.agent import Tensor, Tensors
from corral.agents.returns import NStep, at_index, n_step, scale_rewards
from corral.agents.settings import AgentSettings
from corral.protocol.unrolls import StepType, Unroll


class Ahead(NamedTuple):
    """What a sequence says of its first transition.

    Attributes:
      now, then: observation leaves `[B, ...]`: at the first index, and where the target ends.
      target: the rewards up to there, and what the value there is worth.
      mask: float32 `[B]`: 0 where the first index is the end of an episode, so that nothing was done.
    """

    now: Tensors
    then: Tensors
    target: NStep
    mask: Tensor


def look_ahead(unroll: Unroll, settings: AgentSettings) -> Ahead:
    """What the sequences of `unroll` say of their first transitions."""
    rewards = scale_rewards(unroll.reward, settings)
    target = n_step(rewards, unroll.discount, unroll.step_type, settings.discount)
    return Ahead(
        now={name: leaf[0] for name, leaf in unroll.observation.items()},
        then={name: at_index(leaf, target.end) for name, leaf in unroll.observation.items()},
        target=target,
        mask=ops.cast(unroll.step_type[0] != StepType.LAST, "float32"),
    )


def check_window(settings: AgentSettings, steps: int) -> None:
    """Raises `ValueError` where unrolls are too short for targets of so many steps."""
    if steps > settings.unroll_length:
        raise ValueError(
            f"n_step = {steps} needs an unroll_length of {steps} or more, not {settings.unroll_length}"
        )
