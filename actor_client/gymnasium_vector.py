"""Gymnasium's vector environments, in every way that they reset themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from actor_client.groups import BadEnvironmentError, first_rows, row_spec, taken_spec
from actor_client.rows import Rows
from actor_client.spaces import flatten
from corral.protocol import RowFlags
from corral.telemetry.tracer import span


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


def _pick(batched: Any, index: Any) -> Any:
    """One environment's observation out of a batched structure."""
    if isinstance(batched, dict):
        return {key: _pick(value, index) for key, value in batched.items()}
    if isinstance(batched, tuple):
        return tuple(_pick(value, index) for value in batched)
    return batched[index]
