"""Groups of environments as the runner steps them: all at once; they reset themselves and keep final observations.

A group never shows a reset as a step: the row that follows an end carries both the final observation and the
first one of the next episode (docs/protocol.md, "Steps").
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from actor_client.rows import Rows
from actor_client.spaces import action_spec, observation_spec
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
