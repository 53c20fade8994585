"""Distributions over actions, in `keras.ops`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from keras import ops

from corral.agents.agent import Tensor

_MOST_NEGATIVE = -1e30


@dataclass(frozen=True)
class Categorical:
    """One of `n` actions, by unnormalised log-probabilities.

    Attributes:
      logits: float32 `[..., n]`. A logit of minus infinity rules its action out.
    """

    logits: Tensor

    @cached_property
    def log_probs(self) -> Tensor:
        """Log-probabilities of all actions: float32 `[..., n]`, finite."""
        # Finite, because 0 * -inf is no number: an impossible action would spoil every sum it enters.
        return ops.maximum(ops.log_softmax(self.logits, axis=-1), _MOST_NEGATIVE)

    def sample(self, uniform: Tensor) -> Tensor:
        """The action whose share of [0, 1) holds `uniform` (inversion of the cumulative distribution).

        The action is how many of the first n - 1 cumulative sums lie at or below `uniform`: always 0 to
        n - 1, whatever the rounding.

        Args:
          uniform: float32 `[...]` in [0, 1): one number decides one action.

        Returns:
          int32 `[...]`.
        """
        cumulative = ops.cumsum(ops.softmax(self.logits, axis=-1), axis=-1)
        # The last sum is 1 but for rounding. Scaled by it, no uniform reaches an impossible last action.
        threshold = uniform[..., None] * cumulative[..., -1:]
        return ops.sum(ops.cast(cumulative[..., :-1] <= threshold, "int32"), axis=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of `action` (integers `[...]`, 0 to n - 1): float32 `[...]`."""
        chosen = ops.one_hot(action, self.logits.shape[-1], dtype="float32")
        return ops.sum(chosen * self.log_probs, axis=-1)

    def entropy(self) -> Tensor:
        """Entropy in nats: float32 `[...]`, 0 to log(n)."""
        return -ops.sum(ops.exp(self.log_probs) * self.log_probs, axis=-1)

    def mode(self) -> Tensor:
        """The likeliest action, the lowest of equals: int32 `[...]`."""
        return ops.argmax(self.logits, axis=-1)
