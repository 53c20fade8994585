"""Groups of environments as the runner steps them: all at once; they reset themselves and keep final observations.

A group never shows a reset as a step: the row that follows an end carries both the final observation and the
first one of the next episode (docs/protocol.md, "Steps").
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from actor_client.rows import Rows
from actor_client.spaces import action_spec, flatten, observation_spec
from corral.protocol import RowFlags, Spec, TensorSpec


class BadEnvironmentError(ValueError):
    """The environment cannot be made or used: says which, why, and what to do."""


class EnvironmentGroup(Protocol):
    """`size` environments of one kind."""

    size: int

    @property
    def observation(self) -> Spec:
        """One row of what they give."""
        ...

    action: TensorSpec

    def reset(self, seeds: list[int] | None) -> Rows:
        """Begin an episode everywhere, seeded where `seeds` are given: one row for each environment, FIRST."""
        ...

    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        """Step the environments that `environment` names, `[n]` ascending, with `action`, `[n, ...]`.

        The next rows to act on: at least one; an environment that has none to show now is left out.
        """
        ...

    def close(self) -> None:
        """Let go of the environments."""
        ...


def first_rows(observation: dict[str, np.ndarray], size: int) -> Rows:
    """The rows of a reset."""
    flags = np.full(size, RowFlags.FIRST, np.uint16)
    final = {name: leaf[:0] for name, leaf in observation.items()}
    return Rows(np.arange(size, dtype=np.uint16), np.zeros(size, np.float32), flags, observation, final)


def ending(terminated: bool, truncated: bool) -> int:
    """The flags of the row behind an end."""
    flags = RowFlags.FIRST
    if terminated:
        flags |= RowFlags.TERMINATED
    if truncated:
        flags |= RowFlags.TRUNCATED
    return int(flags)


def row_leaves(space: Any, spec: Spec, value: Any) -> dict[str, np.ndarray]:
    """The leaves of one environment's observation.

    Args:
      space: the environment's, of which `spec` is the `row_spec`.

    Raises:
      BadEnvironmentError: the observation is not of its space's form; numpy would spread one number over a row.
    """
    try:
        leaves = flatten(space, value)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadEnvironmentError(
            f"the environment gives an observation that is not in {space} ({type(error).__name__}: {error})"
        ) from error
    for name, leaf in leaves.items():
        shape = spec[name].shape
        # A number is taken as an array of one, and the other way round: many environments write it so.
        if leaf.shape != shape and not (leaf.size == 1 and set(shape) <= {1}):
            raise BadEnvironmentError(
                f"the environment gives {name} of shape {leaf.shape}, where its observation space says {shape}: "
                "have it give what it says, or say what it gives"
            )
    return leaves


def row_spec(space: Any) -> Spec:
    """What an observation space gives, one row. Raises `BadEnvironmentError`."""
    try:
        return observation_spec(space)
    except ValueError as error:
        raise BadEnvironmentError(str(error)) from error


def taken_spec(space: Any) -> TensorSpec:
    """What an action space takes, one row. Raises `BadEnvironmentError`."""
    try:
        return action_spec(space)
    except ValueError as error:
        raise BadEnvironmentError(str(error)) from error
