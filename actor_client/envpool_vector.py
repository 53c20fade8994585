"""EnvPool's environments, which step together outside of Python: `environment.id = "envpool:Pong-v5"`.

Needs `corral[envpool]`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from actor_client.groups import BadEnvironmentError, row_spec, taken_spec
from actor_client.gymnasium_vector import VectorGroup
from actor_client.registry import require
from corral.protocol import Spec, TensorSpec

_PREFIX = "envpool:"
_OURS = {
    "num_envs": "actor.environments says how many",
    "batch_size": "all environments of a pool are stepped together",
    "env_type": "it is gymnasium's",
    "seed": "run.seed seeds them",
    "env_seed": "run.seed seeds them",
}
_THREADS = 1
"""An actor is one process among as many as there are processors; `num_threads` says otherwise."""


def is_envpool(identifier: str) -> bool:
    """Whether an `environment.id` names an environment of EnvPool's."""
    return identifier.startswith(_PREFIX)


def envpool_spaces(identifier: str, kwargs: Mapping[str, Any]) -> tuple[Spec, TensorSpec]:
    """What one of EnvPool's environments gives and takes; none is made. Raises `BadEnvironmentError`."""
    pool = Pool(identifier, kwargs, 1)
    return row_spec(pool.single_observation_space), taken_spec(pool.single_action_space)


def envpool_group(identifier: str, kwargs: Mapping[str, Any], size: int) -> VectorGroup:
    """`size` of EnvPool's environments. Raises `BadEnvironmentError`."""
    return VectorGroup(Pool(identifier, kwargs, size))


class Pool:
    """A pool as a gymnasium vector environment, seeded where others are: when it is reset.

    EnvPool seeds a pool when it makes it, so a reset with a seed makes a new one. Images, which EnvPool gives
    channels first, come with their channels last, and without that axis where there is one channel.

    Args:
      identifier: "envpool:" and one of `envpool.list_all_envs()`.
      kwargs: further arguments of `envpool.make`.

    Attributes:
      metadata, num_envs, single_observation_space, single_action_space: as gymnasium has them.

    Raises:
      BadEnvironmentError: EnvPool is not installed, has no such environment, or takes no such arguments.
    """

    def __init__(self, identifier: str, kwargs: Mapping[str, Any], size: int) -> None:
        for name, why in _OURS.items():
            if name in kwargs:
                raise BadEnvironmentError(f"environment.kwargs.{name} cannot be set for EnvPool: {why}")
        self._envpool = require("envpool", "envpool", f"environment.id = {identifier!r} is EnvPool's")
        self._name = identifier.removeprefix(_PREFIX)
        if self._name not in (known := self._envpool.list_all_envs()):
            close = (
                ", ".join(difflib.get_close_matches(self._name, known)) or "envpool.list_all_envs() has them all"
            )
            raise BadEnvironmentError(f"environment.id = {identifier!r}: EnvPool has no {self._name}; {close}")
        self._arguments = {"num_threads": _THREADS, **kwargs, "num_envs": size}
        try:
            spec = self._envpool.make_spec(self._name, **self._arguments)
        except Exception as error:  # whatever each environment's own code raises
            text = f"environment.id = {identifier!r} cannot be made: {type(error).__name__}: {error}"
            raise BadEnvironmentError(text) from error
        if spec.config.max_num_players > 1:
            raise BadEnvironmentError(
                f"environment.id = {identifier!r} has several players; Corral takes EnvPool's games of one, and "
                "PettingZoo's of several"
            )
        self.num_envs = size
        self._given = spec.gymnasium_observation_space
        self.single_observation_space = _channels_last(self._given)
        self.single_action_space = spec.gymnasium_action_space
        self._pool: Any = None
        # Every pool's is this; asked of a pool that exists, below.
        self.metadata = {"autoreset_mode": "NEXT_STEP"}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """First observations. With a seed from a new pool, whose environments count up from it."""
        if seed is not None or self._pool is None:
            self.close()
            drawn = np.random.SeedSequence(seed).generate_state(1)[0] >> 2  # an int32, of which EnvPool counts up
            self._pool = self._envpool.make_gymnasium(self._name, seed=int(drawn), **self._arguments)
            mode = self._pool.metadata["autoreset_mode"].name
            if mode != self.metadata["autoreset_mode"]:
                raise BadEnvironmentError(f"this EnvPool resets by {mode}; Corral was tested with NEXT_STEP")
        observation, info = self._pool.reset()
        return _moved(self._given, observation), info

    def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment."""
        observation, *rest, info = self._pool.step(action)
        return _moved(self._given, observation), *rest, info

    def close(self) -> None:
        """Let go of the pool."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def _is_channels_first(space: Any) -> bool:
    """Whether these are images `[channels, height, width]`: uint8, and the first axis the shortest by far."""
    shape = list(space.shape or ())
    return space.dtype == np.uint8 and len(shape) == 3 and 4 * shape[0] <= min(shape[1:])


def _channels_last(space: Any) -> Any:
    from gymnasium.spaces import Box, Dict

    if isinstance(space, Dict):
        return Dict({name: _channels_last(inner) for name, inner in space.spaces.items()})
    if not _is_channels_first(space):
        return space
    channels, height, width = space.shape
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Box(0, 255, shape, np.uint8)


def _moved(space: Any, values: Any) -> Any:
    """Batched observations as `_channels_last` describes them."""
    if hasattr(space, "spaces"):
        return {name: _moved(inner, values[name]) for name, inner in space.spaces.items()}
    if not _is_channels_first(space):
        return values
    return values[:, 0] if values.shape[1] == 1 else np.moveaxis(values, 1, -1)
