"""Groups of environments as the runner steps them: all at once; they reset themselves and keep final observations.

A group never shows a reset as a step: the row that follows an end carries both the final observation and the
first one of the next episode (docs/protocol.md, "Steps").
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from actor_client.actor_session import Rows
from actor_client.spaces import action_spec, flatten, observation_spec
from corral.protocol import RowFlags, Spec, TensorSpec
from corral.telemetry.tracer import span


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


class SingleGroup:
    """Gymnasium environments stepped one after the other."""

    def __init__(self, environments: list[Any]) -> None:
        self._environments = environments
        self._space = environments[0].observation_space
        self.size = len(environments)
        self.observation = row_spec(self._space)
        self.action = taken_spec(environments[0].action_space)

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        observation = self._empty(self.size)
        for index, environment in enumerate(self._environments):
            value, _ = environment.reset(seed=seeds[index] if seeds else None)
            self._put(observation, index, value)
        return first_rows(observation, self.size)

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        count = len(environment)
        observation = self._empty(count)
        final = self._empty(count)
        reward, flags = np.zeros(count, np.float32), np.zeros(count, np.uint16)
        ended = 0
        for row, (index, act) in enumerate(zip(environment.tolist(), action, strict=True)):
            stepped = self._environments[index]
            value, reward[row], terminated, truncated, _ = stepped.step(act.item() if act.ndim == 0 else act)
            if terminated or truncated:
                self._put(final, ended, value)
                ended += 1
                flags[row] = ending(terminated, truncated)
                value, _ = stepped.reset()
            self._put(observation, row, value)
        final = {name: leaf[:ended] for name, leaf in final.items()}
        return Rows(environment, reward, flags, observation, final)

    def close(self) -> None:
        for environment in self._environments:
            environment.close()

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        return {name: leaf.zeros(rows) for name, leaf in self.observation.items()}

    def _put(self, leaves: dict[str, np.ndarray], row: int, value: Any) -> None:
        for name, leaf in flatten(self._space, value).items():
            leaves[name][row] = leaf


class VectorGroup:
    """A gymnasium vector environment, in whichever way it resets itself.

    NEXT_STEP: the step after an end resets, ignores its action and earns nothing. The environment is left out of
    the rows for that one step, so that nobody acts on a final observation.
    SAME_STEP: the step that ends also resets; the final observation lies in `info`.
    DISABLED: we reset what ended, by mask.
    """

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._space = environment.single_observation_space
        mode = environment.metadata.get("autoreset_mode")
        name = getattr(mode, "name", str(mode))
        ways = {"NEXT_STEP": self._next_step, "SAME_STEP": self._same_step, "DISABLED": self._disabled}
        if name not in ways:
            raise BadEnvironmentError(
                f"the vector environment's autoreset_mode is {mode!r}; Corral knows {', '.join(ways)}. Set it in "
                'the environment\'s metadata, or use vectorization = "none"'
            )
        self._way = ways[name]
        self.size = environment.num_envs
        self.observation = row_spec(self._space)
        self.action = taken_spec(environment.single_action_space)
        self._actions = np.zeros((self.size, *self.action.shape), self.action.dtype)
        self._all = np.arange(self.size, dtype=np.uint16)
        self._forget()

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        self._forget()
        # A native vector environment takes one seed for all; gymnasium's own count up from it.
        value, _ = self._environment.reset(seed=seeds[0] if seeds else None)
        return first_rows(flatten(self._space, value), self.size)

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        self._actions[environment] = action
        rows = self._way(*self._step())
        while len(rows.environment) == 0:  # every environment is resetting
            rows = self._way(*self._step())
        return rows

    def close(self) -> None:
        self._environment.close()

    def _forget(self) -> None:
        """No episode has ended yet."""
        self._resetting = np.zeros(self.size, bool)
        self._flags = np.zeros(self.size, np.uint16)
        self._reward = np.zeros(self.size, np.float32)
        self._final = {name: leaf.zeros(self.size) for name, leaf in self.observation.items()}

    def _step(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, dict[str, Any]]:
        value, reward, terminated, truncated, info = self._environment.step(self._actions)
        # The environment may write its next observations into the same arrays.
        observation = {name: leaf.copy() for name, leaf in flatten(self._space, value).items()}
        flags = np.where(terminated | truncated, RowFlags.FIRST, 0).astype(np.uint16)
        flags |= np.where(terminated, RowFlags.TERMINATED, 0).astype(np.uint16)
        flags |= np.where(truncated, RowFlags.TRUNCATED, 0).astype(np.uint16)
        return observation, np.asarray(reward, np.float32), flags, info

    def _next_step(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        was_resetting = self._resetting
        ends = (flags != 0) & ~was_resetting
        # What has just been reset shows the end that was kept back.
        reward = np.where(was_resetting, self._reward, reward)
        shown_flags = np.where(was_resetting, self._flags, flags)
        rows = np.flatnonzero(~ends)
        final = {name: leaf[was_resetting] for name, leaf in self._final.items()}
        for name, leaf in self._final.items():
            leaf[ends] = observation[name][ends]
        self._flags[ends], self._reward[ends] = flags[ends], reward[ends]
        self._resetting = ends
        shown = {name: leaf[rows] for name, leaf in observation.items()}
        return Rows(self._all[rows], reward[rows], shown_flags[rows], shown, final)

    def _same_step(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        ended = np.flatnonzero(flags)
        final = {name: leaf.zeros(len(ended)) for name, leaf in self.observation.items()}
        if len(ended):
            if "final_obs" not in info:
                raise BadEnvironmentError(
                    'the vector environment resets in the same step, without info["final_obs"]'
                )
            for row, index in enumerate(ended):
                last = flatten(self._space, _pick(info["final_obs"], index))
                for name, leaf in last.items():
                    final[name][row] = leaf
        return Rows(self._all, reward, flags, observation, final)

    def _disabled(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        ended = flags != 0
        final = {name: leaf[ended] for name, leaf in observation.items()}
        if ended.any():
            value, _ = self._environment.reset(options={"reset_mask": ended})
            for name, leaf in flatten(self._space, value).items():
                observation[name][ended] = leaf[ended]
        return Rows(self._all, reward, flags, observation, final)


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


def _pick(batched: Any, index: Any) -> Any:
    """One environment's observation out of a batched structure."""
    if isinstance(batched, dict):
        return {key: _pick(value, index) for key, value in batched.items()}
    if isinstance(batched, tuple):
        return tuple(_pick(value, index) for value in batched)
    return batched[index]


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
