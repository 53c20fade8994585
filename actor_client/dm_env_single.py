"""Environments by DeepMind's dm_env API as gymnasium ones: dm_control's tasks, and what users' functions make.

Needs `corral[dm-control]`.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from actor_client.groups import BadEnvironmentError
from actor_client.registry import require


def is_dm_env(environment: Any) -> bool:
    """Whether an environment speaks dm_env's API rather than gymnasium's."""
    return hasattr(environment, "observation_spec") and not hasattr(environment, "observation_space")


class DmEnvironment(gymnasium.Env[Any, Any]):
    """A dm_env environment as a gymnasium one.

    An episode that ends with discount 0 has terminated, with any other it was truncated. A step within an episode
    must have discount 1: what is discounted is `agent.discount`'s to say. dm_env knows no seeds: chances are the
    environment's own.

    Args:
      environment: a `dm_env.Environment`.

    Raises:
      BadEnvironmentError: `corral[dm-control]` is not installed, or its specs are none of arrays.
    """

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._shimmy = require("shimmy.utils.dm_env", "dm-control", "the environment is a dm_env one")
        try:
            self.observation_space = self._shimmy.dm_spec2gym_space(environment.observation_spec())
            self.action_space = self._shimmy.dm_spec2gym_space(environment.action_spec())
        except (NotImplementedError, TypeError) as error:
            raise BadEnvironmentError(f"the dm_env environment's specs are no arrays: {error}") from error

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first observation; the seed is not used."""
        return self._shimmy.dm_obs2gym_obs(self._environment.reset().observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Raises `BadEnvironmentError` for a discount that is not 1 within an episode."""
        told = self._environment.step(action)
        if not told.last() and told.discount != 1.0:
            raise BadEnvironmentError(
                f"the dm_env environment gives the discount {told.discount} within an episode; it must be 1 there: "
                "set agent.discount instead"
            )
        observation, reward, terminated, truncated, _ = self._shimmy.dm_env_step2gym_step(told)
        return observation, float(reward), terminated, truncated, {}

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()
