"""Policies by kind of action: what a network must put out, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from keras import ops

from corral.agents.agent import Tensor, Tensors
from corral.agents.distributions import Categorical, Distribution, Gaussian, MultiCategorical
from corral.agents.networks import ACTION_MASK, is_action_mask, lowest_value
from corral.protocol.specs import Spec, TensorSpec

MOST_CHOICES = 65_536
"""Values of one discrete action: a network has an output for each."""
_COLDEST = 1e-6
_RULED_OUT = -1e30


class Policy(Protocol):
    """A family of distributions over the actions of one spec.

    Attributes:
      heads: output of the network -> its width.
      noise: uniform numbers that a sample takes.
      stored: leaves beside the action that name a sample exactly.
    """

    heads: Mapping[str, int]
    noise: int
    stored: Spec

    def distribution(self, out: Tensors, observation: Tensors, temperature: Tensor | None = None) -> Distribution:
        """What the network's outputs mean.

        Args:
          out: `heads` -> `[..., width]`.
          observation: the leaves that they were made of, of which a mask may be one.
          temperature: float32 `[...]`: 1 leaves the policy as it is, less sharpens it, 0 makes it greedy.
        """
        ...

    def draw(self, distribution: Distribution, noise: Tensor) -> Tensor:
        """The sample that uniform numbers `[..., noise]` decide."""
        ...

    def outputs(self, sample: Tensor) -> Tensors:
        """ "action" as the environment takes it, and `stored`, of a sample."""
        ...

    def sample_of(self, output: Tensors) -> Tensor:
        """The sample whose `outputs` these are."""
        ...


def policy_for(action: TensorSpec, observation: Spec) -> Policy:
    """The family for these actions: categorical for discrete ones, one or several; normal for numbers.

    Raises:
      ValueError: there is none; or the observation has an action mask that does not fit.
    """
    if np.dtype(action.dtype).kind in "iub" and action.num_values is not None:
        sizes = choices(action)
        if max(sizes) > MOST_CHOICES:
            raise ValueError(f"no policy gives actions like {action}: {MOST_CHOICES} values at most are a choice")
        mask = observation.get(ACTION_MASK)
        if mask is not None and (not is_action_mask(ACTION_MASK, mask) or mask.size != sum(sizes)):
            raise ValueError(
                f'the observation\'s "{ACTION_MASK}" must be one whole number or bool for each of {sum(sizes)} '
                f"actions, not {mask}"
            )
        return DiscretePolicy(action) if action.shape == () else MultiDiscretePolicy(action)
    if np.dtype(action.dtype).kind == "f" and len(action.shape) == 1:
        return ContinuousPolicy(action)
    raise ValueError(f"no policy gives actions like {action}: discrete ones and vectors of numbers are known")


def choices(action: TensorSpec) -> list[int]:
    """How many values each element of a discrete action has."""
    # Plain integers: numpy's would wrap around, or round, near the ends of 64 bits.
    low, high = (bound.ravel().tolist() for bound in action.bounds)
    return [int(most) - int(least) + 1 for least, most in zip(low, high, strict=True)]


class DiscretePolicy:
    """One of n actions."""

    def __init__(self, action: TensorSpec) -> None:
        self.noise = 1
        self.stored: Spec = {}
        (size,) = choices(action)
        self.heads: Mapping[str, int] = {"logits": size}
        self._lowest = lowest_value(action)
        self._dtype = action.dtype

    def distribution(self, out: Tensors, observation: Tensors, temperature: Tensor | None = None) -> Categorical:
        return Categorical(_tempered(masked(out["logits"], observation), temperature))

    def draw(self, distribution: Distribution, noise: Tensor) -> Tensor:
        return distribution.sample(noise[..., 0])

    def outputs(self, sample: Tensor) -> Tensors:
        return {"action": ops.cast(sample + self._lowest, self._dtype)}

    def sample_of(self, output: Tensors) -> Tensor:
        return ops.cast(output["action"], "int32") - self._lowest


class MultiDiscretePolicy:
    """Several discrete choices at once, independent of each other."""

    def __init__(self, action: TensorSpec) -> None:
        self.stored: Spec = {}
        self._sizes = choices(action)
        self.heads: Mapping[str, int] = {"logits": sum(self._sizes)}
        self.noise = len(self._sizes)
        self._lowest = action.bounds[0].ravel().astype(np.int32)
        self._shape, self._dtype = action.shape, action.dtype

    def distribution(
        self, out: Tensors, observation: Tensors, temperature: Tensor | None = None
    ) -> MultiCategorical:
        return MultiCategorical(_tempered(masked(out["logits"], observation), temperature), self._sizes)

    def draw(self, distribution: Distribution, noise: Tensor) -> Tensor:
        return distribution.sample(noise)

    def outputs(self, sample: Tensor) -> Tensors:
        action = ops.cast(sample + self._lowest, self._dtype)
        return {"action": ops.reshape(action, (*sample.shape[:-1], *self._shape))}

    def sample_of(self, output: Tensors) -> Tensor:
        action = ops.cast(output["action"], "int32")
        leading = action.shape[: len(action.shape) - len(self._shape)]
        return ops.reshape(action, (*leading, self.noise)) - self._lowest


class ContinuousPolicy:
    """A vector of numbers, normal around the network's mean; what passes the bounds is cut to them on its way out.

    Means and deviations count in halves of each element's range, around its middle, where it has one.
    """

    def __init__(self, action: TensorSpec) -> None:
        self.noise = action.size
        self.heads: Mapping[str, int] = {"mean": self.noise, "log_std": self.noise}
        self.stored: Spec = {"raw": TensorSpec((self.noise,), "float32")}
        self.scale = ActionScale(action)

    def distribution(self, out: Tensors, observation: Tensors, temperature: Tensor | None = None) -> Gaussian:
        log_std = ops.clip(out["log_std"], -10.0, 2.0)
        if temperature is not None:
            log_std = log_std + ops.log(ops.maximum(temperature, _COLDEST))[..., None]
        return Gaussian(out["mean"], log_std)

    def draw(self, distribution: Distribution, noise: Tensor) -> Tensor:
        return distribution.sample(noise)

    def outputs(self, sample: Tensor) -> Tensors:
        return {"action": self.scale.outward(ops.clip(sample, -1.0, 1.0), sample), "raw": sample}

    def sample_of(self, output: Tensors) -> Tensor:
        return output["raw"]


class ActionScale:
    """Between the bounds of an action's elements, and -1 to 1; elements without bounds stay as they are."""

    def __init__(self, action: TensorSpec) -> None:
        low, high = (bound.ravel() for bound in action.bounds)
        self._bounded = np.isfinite(low) & np.isfinite(high)
        lowest, highest = np.where(self._bounded, low, -1.0), np.where(self._bounded, high, 1.0)
        middle, half = (lowest + highest) / 2, (highest - lowest) / 2
        self._middle, self._half = middle.astype(np.float32), half.astype(np.float32)
        self._low = np.where(self._bounded, low, -np.inf).astype(np.float32)
        self._high = np.where(self._bounded, high, np.inf).astype(np.float32)
        self._dtype = action.dtype

    @property
    def bounded(self) -> bool:
        """Whether every element has bounds."""
        return bool(self._bounded.all())

    def outward(self, inside: Tensor, free: Tensor | None = None) -> Tensor:
        """Actions as environments take them: of elements with bounds `inside`, -1 to 1; of others `free`."""
        values = inside if free is None else ops.where(self._bounded, inside, free)
        action = values * self._half + self._middle
        # Rounding must not carry an action past its bounds.
        return ops.cast(ops.minimum(ops.maximum(action, self._low), self._high), self._dtype)

    def inward(self, action: Tensor) -> Tensor:
        """float32 actions, -1 to 1 where bounded."""
        return (ops.cast(action, "float32") - self._middle) / self._half


def masked(logits: Tensor, observation: Tensors) -> Tensor:
    """Logits, or values, of which the observation's mask has ruled some out.

    A mask that allows nothing, as games give to who has nothing to do any more, rules nothing out: the value of a
    final observation must be a number.
    """
    mask = observation.get(ACTION_MASK)
    if mask is None:
        return logits
    allowed = ops.cast(mask, "bool")
    allowed = ops.logical_or(allowed, ops.logical_not(ops.any(allowed, axis=-1, keepdims=True)))
    return ops.where(allowed, logits, _RULED_OUT)


def _tempered(logits: Tensor, temperature: Tensor | None) -> Tensor:
    # A temperature of 0 itself would divide by 0; one this low tells logits apart that differ by 0.0001.
    return logits if temperature is None else logits / ops.maximum(temperature, _COLDEST)[..., None]
