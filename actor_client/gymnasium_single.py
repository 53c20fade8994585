"""Single gymnasium environments, stepped one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from actor_client.groups import ending, first_rows, row_leaves, row_spec, taken_spec
from actor_client.rows import Rows
from corral.telemetry.tracer import span


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
        for name, leaf in row_leaves(self._space, self.observation, value).items():
            leaves[name][row] = leaf
