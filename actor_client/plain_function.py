"""An environment that is a plain generator function: each call plays one episode."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space

from actor_client.groups import BadEnvironmentError


def is_episode(function: Any) -> bool:
    """Whether a function plays an episode, rather than makes an environment: whether it yields."""
    return inspect.isgeneratorfunction(function)


class FunctionEnvironment(gymnasium.Env[Any, Any]):
    """Episodes of a generator function, as a gymnasium environment.

    The function is called with a `numpy.random.Generator`, and `kwargs`, once an episode. It yields
    `(observation, reward)` and is sent the action; the first reward is of no step, and counts nothing. It returns
    `(observation, reward)` where the last step terminated the episode, and `(observation, reward, True)` where that
    cut it short.

    What it takes is its attribute `action_space`, a gymnasium space. What it gives is its `observation_space` or,
    without one, what the first observation is like: an array, or a dictionary of arrays, without bounds; float64
    comes as float32.

    Raises:
      BadEnvironmentError: it has no `action_space`, or its first observation is no array.
    """

    def __init__(self, function: Callable[..., Generator[Any, Any, Any]], kwargs: Mapping[str, Any]) -> None:
        self._function = function
        self._kwargs = dict(kwargs)
        self._name = function.__name__
        self._episode: Generator[Any, Any, Any] | None = None
        space = getattr(function, "action_space", None)
        if not isinstance(space, Space):
            raise BadEnvironmentError(
                f"{self._name} yields, so each call of it is an episode; say which actions it takes: "
                f"{self._name}.action_space = gymnasium.spaces.Discrete(2), or another space"
            )
        self.action_space = space
        given = getattr(function, "observation_space", None)
        self.observation_space = given if isinstance(given, Space) else _space_of(self._begin()[0], self._name)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first observation of another episode. Chances go on from episode to episode, but where seeded."""
        super().reset(seed=seed)
        return self._begin()[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step. Raises `BadEnvironmentError` where the function yields or returns something else."""
        assert self._episode is not None, "an episode is played behind a reset"
        try:
            observation, reward = self._pair(self._episode.send(action), "yield")
        except StopIteration as end:
            self._episode = None
            told: Any = end.value
            truncated = False
            if isinstance(told, tuple) and len(told) == 3:
                told, truncated = told[:2], bool(told[2])
            observation, reward = self._pair(told, "return")
            return observation, reward, not truncated, truncated, {}
        return observation, reward, False, False, {}

    def close(self) -> None:
        """End the episode that is under way."""
        if self._episode is not None:
            self._episode.close()
            self._episode = None

    def _begin(self) -> tuple[Any, float]:
        self.close()
        self._episode = self._function(self.np_random, **self._kwargs)
        try:
            return self._pair(next(self._episode), "yield")
        except StopIteration:
            text = f"{self._name} returned before its first observation: it must yield (observation, reward)"
            raise BadEnvironmentError(text) from None

    def _pair(self, told: Any, verb: str) -> tuple[Any, float]:
        if not (isinstance(told, tuple) and len(told) == 2 and _is_number(told[1])):
            more = ", or (observation, reward, True) where the episode was cut short" if verb == "return" else ""
            raise BadEnvironmentError(f"{self._name} must {verb} (observation, reward){more}, not {told!r}")
        return told[0], float(told[1])


def _is_number(value: Any) -> bool:
    like = np.asarray(value)
    return like.ndim == 0 and like.dtype.kind in "fiub"


def _space_of(observation: Any, name: str) -> Space[Any]:
    """The space of everything that is like an observation."""
    if isinstance(observation, dict):
        return Dict({key: _space_of(value, name) for key, value in observation.items()})
    like = np.asarray(observation)
    if like.dtype.kind not in "fiub":
        raise BadEnvironmentError(
            f"{name} yields {observation!r}: an observation must be a number, an array of numbers, or a dictionary "
            f"of them; else say what it is: {name}.observation_space"
        )
    if like.dtype == np.float64:
        return Box(-np.inf, np.inf, like.shape, np.float32)
    if like.dtype.kind == "f":
        return Box(-np.inf, np.inf, like.shape, like.dtype.type)
    if like.dtype.kind == "b":
        return Box(0, 1, like.shape, np.uint8)
    limits = np.iinfo(like.dtype)
    return Box(limits.min, limits.max, like.shape, like.dtype.type)
