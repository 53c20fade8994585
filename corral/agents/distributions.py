"""Distributions over actions, in `keras.ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from keras import ops

from corral.agents.agent import Tensor

_MOST_NEGATIVE = -1e30
_EDGE = 2.0**-25
"""How near to 0 and 1 a uniform number may come where its normal quantile is asked for."""
_HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


class Distribution(Protocol):
    """Over what one row may do: samples are `[..., k]`, or `[...]` of one discrete action."""

    def sample(self, uniform: Tensor) -> Tensor:
        """What uniform numbers in [0, 1), `[..., numbers]`, decide."""
        ...

    def log_prob(self, sample: Tensor) -> Tensor:
        """Log-probability, or density, of `sample`: float32 `[...]`."""
        ...

    def entropy(self) -> Tensor:
        """In nats: float32 `[...]`."""
        ...

    def mode(self) -> Tensor:
        """The likeliest sample."""
        ...


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


@dataclass(frozen=True)
class MultiCategorical:
    """Several independent choices at once.

    Attributes:
      logits: float32 `[..., n_1 + ... + n_k]`.
      sizes: n_1 to n_k.
    """

    logits: Tensor
    sizes: Sequence[int]

    @cached_property
    def _each(self) -> list[Categorical]:
        ends = [sum(self.sizes[: place + 1]) for place in range(len(self.sizes))]
        starts = [0, *ends[:-1]]
        return [Categorical(self.logits[..., start:end]) for start, end in zip(starts, ends, strict=True)]

    def sample(self, uniform: Tensor) -> Tensor:
        """A choice for each of the `k` uniform numbers in [0, 1): int32 `[..., k]`."""
        return ops.stack([each.sample(uniform[..., place]) for place, each in enumerate(self._each)], axis=-1)

    def log_prob(self, sample: Tensor) -> Tensor:
        """Log-probability of `sample` (integers `[..., k]`): float32 `[...]`."""
        return sum(each.log_prob(sample[..., place]) for place, each in enumerate(self._each))

    def entropy(self) -> Tensor:
        """The sum of the choices' entropies, in nats: float32 `[...]`."""
        return sum(each.entropy() for each in self._each)

    def mode(self) -> Tensor:
        """The likeliest choices: int32 `[..., k]`."""
        return ops.stack([each.mode() for each in self._each], axis=-1)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal numbers.

    Attributes:
      mean, log_std: float32 `[..., k]`.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, uniform: Tensor) -> Tensor:
        """The quantiles of uniform numbers in [0, 1), `[..., k]`: float32 `[..., k]`."""
        return self.mean + ops.exp(self.log_std) * normal(uniform)

    def log_prob(self, sample: Tensor) -> Tensor:
        """Log-density of `sample`: float32 `[...]`."""
        scaled = (sample - self.mean) * ops.exp(-self.log_std)
        return ops.sum(-0.5 * ops.square(scaled) - self.log_std - _HALF_LOG_TAU, axis=-1)

    def entropy(self) -> Tensor:
        """Differential entropy in nats: float32 `[...]`."""
        return ops.sum(self.log_std + _HALF_LOG_TAU + 0.5, axis=-1)

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean


@dataclass(frozen=True)
class SquashedGaussian:
    """Normal numbers u, of which an action is tanh(u): within -1 and 1 (Haarnoja et al. 2018, appendix C).

    Samples and densities are named by u, since tanh(u) cannot be inverted near the bounds in 32 bits.

    Attributes:
      mean, log_std: float32 `[..., k]`, of u.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, uniform: Tensor) -> Tensor:
        """u, from uniform numbers in [0, 1), `[..., k]`: float32 `[..., k]`."""
        return Gaussian(self.mean, self.log_std).sample(uniform)

    def log_prob(self, sample: Tensor) -> Tensor:
        """Log-density of tanh(u), by u: float32 `[...]`."""
        # log(1 - tanh(u)^2), in a form that does not round to log(0).
        squeeze = 2.0 * (math.log(2.0) - sample - ops.softplus(-2.0 * sample))
        return Gaussian(self.mean, self.log_std).log_prob(sample) - ops.sum(squeeze, axis=-1)

    def mode(self) -> Tensor:
        """The mean of u."""
        return self.mean


def normal(uniform: Tensor) -> Tensor:
    """Standard normal quantiles of uniform numbers in [0, 1): within plus and minus 5.5."""
    inside = ops.clip(uniform, _EDGE, 1.0 - 2.0 * _EDGE)  # the nearest float32 below 1 is 2 ** -24 away
    return math.sqrt(2.0) * ops.erfinv(2.0 * inside - 1.0)
