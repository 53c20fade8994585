"""Where a STEP's time goes inside the server: what the verdict is made of (`corral.telemetry.verdict`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inference_server.batcher import Reason


class Moment(NamedTuple):
    """When the engine was free last, and when the learner's latest block began and ended."""

    free_at: float
    blocked_from: float
    blocked_to: float


class Departure(NamedTuple):
    """How a batch left.

    Attributes:
      reason: why.
      began: when it began to be computed.
      moment: what held it up is judged by this.
    """

    reason: Reason
    began: float
    moment: Moment


class Delays:
    """Sums over STEPs, in seconds; each STEP's stay is cut into what held it up. Belongs to the serving thread.

    Args:
      clock: seconds, monotonic.

    Attributes:
      requests: STEPs answered.
      engine_s: they waited for the thread that computes, or were computed.
      gather_s: they waited for others to share a batch with, while that thread had time.
      learner_s: they waited because the learner had fallen behind.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._emptied = self._free_at = clock()
        self._blocked_from = self._blocked_to = -np.inf
        self._is_blocked = False
        self.requests = 0
        self.engine_s = 0.0
        self.gather_s = 0.0
        self._learner_s = 0.0

    def socket_is_empty(self) -> None:
        """Nothing waits unread now."""
        self._emptied = self._clock()

    def reads(self, began: float, requests: int) -> None:
        """So many STEPs were read from `began` on, one after the other.

        Each came at some time since the socket was last seen empty: on average, half of that time ago.
        """
        self.engine_s += requests * max(began - self._emptied, 0.0) / 2

    def blocked(self, is_blocked: bool) -> None:
        """Whether the learner makes everyone wait now; told whenever that may have changed."""
        if is_blocked == self._is_blocked:
            return
        self._is_blocked = is_blocked
        if is_blocked:
            self._blocked_from, self._blocked_to = self._clock(), np.inf
        else:
            self._blocked_to = self._clock()

    @property
    def moment(self) -> Moment:
        """What has to be known of now, to say later what held up whoever leaves now."""
        return Moment(self._free_at, self._blocked_from, self._blocked_to)

    def left(
        self, arrived: np.ndarray, began: np.ndarray, now: np.ndarray, moments: np.ndarray, gathers: np.ndarray
    ) -> None:
        """STEPs, `[n]`, arrived then, were computed from `began` on and answered at `now`.

        Args:
          moments: `[n, 3]`, the `moment` before each was computed.
          gathers: `[n]`, whether batches waited to be fuller; where they did not, all waiting is the engine's.
        """
        free_at, blocked_from, blocked_to = moments.T
        learner = np.maximum(np.minimum(began, blocked_to) - np.maximum(arrived, blocked_from), 0.0)
        gather = np.maximum(began - np.maximum(arrived, free_at) - learner, 0.0) * gathers
        self.requests += len(arrived)
        self._learner_s += float(learner.sum())
        self.gather_s += float(gather.sum())
        self.engine_s += float((now - arrived - learner - gather).sum())

    def engine_is_free(self, now: float) -> None:
        """From now on, until it computes as much as it can again: whatever it computed."""
        self._free_at = now

    def learner_s(self, waiting: int) -> float:
        """`waiting` STEPs have not been computed yet: where they wait for the learner, that counts already."""
        since = self._clock() - self._blocked_from if self._is_blocked else 0.0
        return self._learner_s + waiting * since
