"""Slots: one environment's seat in the server's arrays. All state per environment is an array over slots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from corral.protocol import Spec
from inference_server.noise import environment_keys, seed_of_generation


class Slots:
    """Who sits where, and what each seat remembers between two steps.

    Args:
      capacity: how many slots there are.
      state: leaves of the recurrent state, one row.
      seed: of the exploration noise.
      exploration: run-wide environment numbers, int64 `[n]`, to how much each explores, float32 `[n, k]`.

    Attributes:
      environment: int64 `[capacity]`: the run-wide number of the environment in each slot.
      seat: int64 `[capacity]`: its number within its session.
      noise_key: uint64 `[capacity]`: what exploration noise hashes of the environment.
      explore: float32 `[capacity, k]`: how much the environment explores.
      steps: uint64 `[capacity]`: observations answered since the session began; counts exploration noise.
      started: bool `[capacity]`: whether the slot has seen the FIRST row of its session.
      state: leaf name -> `[capacity, ...]`: the recurrent state that precedes the next observation.
      episode_return: float64 `[capacity]`, of the open episode.
      episode_length: int64 `[capacity]`, steps of the open episode.
    """

    def __init__(
        self,
        capacity: int,
        state: Spec,
        seed: int = 0,
        exploration: Callable[[np.ndarray], np.ndarray] = lambda environment: np.ones((len(environment), 0)),
    ) -> None:
        self.capacity = capacity
        self._seed = self._noise_seed = seed
        self._exploration = exploration
        self.environment = np.zeros(capacity, np.int64)
        self.seat = np.zeros(capacity, np.int64)
        self.noise_key = np.zeros(capacity, np.uint64)
        self.explore = np.zeros((capacity, exploration(np.arange(1)).shape[1]), np.float32)
        self.steps = np.zeros(capacity, np.uint64)
        self.started = np.zeros(capacity, bool)
        self.state = {name: leaf.zeros(capacity) for name, leaf in state.items()}
        self.episode_return = np.zeros(capacity, np.float64)
        self.episode_length = np.zeros(capacity, np.int64)
        self._held = np.zeros(capacity, bool)
        self._free = list(range(capacity - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """How many slots sessions hold."""
        return self.capacity - len(self._free)

    def free_numbers(self, count: int, lowest: int = 0) -> int:
        """The first run-wide number, `lowest` or above, of `count` in a row that are no environment's now."""
        taken = np.unique(self.environment[self._held])
        taken = taken[taken >= lowest]
        starts = np.concatenate(([lowest], taken + 1))
        gaps = np.append(taken, np.iinfo(np.int64).max) - starts
        return int(starts[np.argmax(gaps >= count)])

    def take(self, count: int, first_environment: int) -> np.ndarray:
        """`count` free slots, int64 ascending, seated with environments from `first_environment` on.

        The caller has checked that enough are `free`.
        """
        taken = np.sort([self._free.pop() for _ in range(count)]).astype(np.int64)
        self._held[taken] = True
        self.seat[taken] = np.arange(count)
        self.environment[taken] = first_environment + np.arange(count)
        self.noise_key[taken] = environment_keys(self._noise_seed, self.environment[taken])
        self.explore[taken] = self._exploration(self.environment[taken])
        self.steps[taken] = 0
        self.started[taken] = False
        self.episode_return[taken] = 0
        self.episode_length[taken] = 0
        return taken

    def begin_anew(self, version: int) -> None:
        """Who is seated from now on draws other noise than any before: that of policy version `version`."""
        self._noise_seed = seed_of_generation(self._seed, version)

    def release(self, taken: np.ndarray) -> None:
        """Free slots that `take` gave."""
        self._held[taken] = False
        self._free.extend(taken.tolist())
