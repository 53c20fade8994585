"""A past policy: weights that are held while their learner goes on, and one of the last few that were."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from corral.protocol import Spec
from inference_server.learner_link import WeightHolder
from inference_server.settings import Pace


class Hold:
    """Stands before an engine, and lets through only the versions that are due. Belongs to the learner's thread.

    The learner is told of every version that it has been taken: it goes on to send the newest. Of those that are
    not due nothing is kept. A version below the held one, of a later epoch, is another beginning: it is due at
    once, and what was kept before is forgotten.

    Args:
      engine: what acts.
      seed: of the draws from the pool.
      clock: seconds, monotonic.

    Attributes:
      epoch, version: the latest that was seen, whether it acts or not.
    """

    def __init__(
        self, engine: WeightHolder, pace: Pace, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._pace = pace
        self._clock = clock
        self._random = np.random.default_rng(seed)
        self._pool: deque[tuple[int, int, Mapping[str, np.ndarray]]] = deque(maxlen=pace.pool)
        self._held = (0, 0)
        self._since = -np.inf
        self.epoch = 0
        self.version = 0

    @property
    def weight_spec(self) -> Spec:
        """The tensors of a policy version, by name."""
        return self._engine.weight_spec

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool:
        """Take note of verified weights and, where they are due, let one of the pool act.

        Returns:
          whether they were taken note of; False where the engine did not take up what was due in time.
        """
        if self._due(epoch, version):
            if self._anew(epoch, version):
                self._pool.clear()
            # Copies: they may be views of a message.
            added = (epoch, version, {name: np.array(leaf) for name, leaf in weights.items()})
            candidates = [*self._pool, added][-self._pace.pool :]
            drawn = candidates[self._random.integers(len(candidates))]
            if not self._engine.offer(*drawn, wake, timeout_s):
                return False
            self._pool.append(added)
            self._held, self._since = (epoch, version), self._clock()
        self.epoch, self.version = epoch, version
        return True

    def _due(self, epoch: int, version: int) -> bool:
        if self._anew(epoch, version):
            return True
        if self._pace.versions:
            return version - self._held[1] >= self._pace.versions
        return self._clock() - self._since >= self._pace.seconds

    def _anew(self, epoch: int, version: int) -> bool:
        """Whether these are the first weights, or another learner's that has begun anew."""
        return self._held == (0, 0) or (epoch > self._held[0] and version < self._held[1])
