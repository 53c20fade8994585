"""Which actions are allowed, as a leaf of the observation: what environments say in their info."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from actor_client.groups import BadEnvironmentError
from actor_client.spaces import SINGLE

LEAF = "action_mask"
"""The leaf's name, by which agents know it, and the key in `info`."""


def masked_space(observation: Any, action: Any) -> Dict:
    """An observation space with the mask of an action space beside its leaves. Raises `BadEnvironmentError`."""
    if hasattr(action, "n"):
        size = int(action.n)
    elif hasattr(action, "nvec"):
        size = int(np.sum(action.nvec))
    else:
        raise BadEnvironmentError(f"environment.action_mask is for discrete actions, not {action}")
    leaves = observation.spaces if isinstance(observation, Dict) else {SINGLE: observation}
    return Dict({**leaves, LEAF: Box(0, 1, (size,), np.int8)})


def masked(observation: Any, info: Any) -> dict[str, Any]:
    """An observation with the mask that `info` has. Raises `BadEnvironmentError` where it has none."""
    mask = info.get(LEAF)
    if mask is None:
        told = ", ".join(map(str, info)) or "nothing"
        raise BadEnvironmentError(
            f'environment.action_mask is true, but the environment gives no info["{LEAF}"]; it gives {told}'
        )
    flat = np.concatenate([np.ravel(part) for part in mask]) if isinstance(mask, tuple) else np.ravel(mask)
    leaves = observation if isinstance(observation, dict) else {SINGLE: observation}
    return {**leaves, LEAF: flat.astype(np.int8)}


class MaskedEnvironment(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose observations have the leaf "action_mask", int8 `[actions]`: 1 where one is allowed.

    Of several discrete actions at once, the masks of each follow each other.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any]) -> None:
        super().__init__(environment)
        self.observation_space = masked_space(environment.observation_space, environment.action_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return masked(observation, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return masked(observation, info), reward, terminated, truncated, info
