"""What the server has done, for people: counters, and percentiles over the latest requests."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from corral.protocol import ErrorCode
from corral.telemetry import Histogram
from corral.telemetry.board import Samples
from corral.telemetry.catalogue import ROWS, SECONDS
from inference_server.batch import Batch, Request
from inference_server.batcher import Reason
from inference_server.delays import Delays, Departure, Moment

RETURNS = 100
SETTLE_BATCHES = 256
"""Batches whose requests are looked at together, at most."""


class _Answered(NamedTuple):
    """A batch that was answered, and what its requests will be judged by."""

    requests: Sequence[Request]
    began: float
    now: float
    moment: Moment
    gathers: bool


class Stats:
    """Figures of one server. Written by the serving thread alone; `figures` is for that thread too."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answered: list[_Answered] = []
        self.delays = Delays(clock)
        self._request_s, self._queue_s, self._compute_s = (Histogram(SECONDS) for _ in range(3))
        self._batch_rows = Histogram(ROWS)
        self._window: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)], maxlen=20)
        self.rows = 0
        self.batches = 0
        self.padding = 0
        self.reasons: Counter[Reason] = Counter()
        self.errors: Counter[str] = Counter()
        self.last_errors: deque[str] = deque(maxlen=5)
        self.env_steps = 0
        self.episodes = 0
        self.returns: deque[float] = deque(maxlen=RETURNS)

    def batch_left(
        self, batch: Batch, departure: Departure, padded_to: int, now: float, *, gathers: bool, frees: bool
    ) -> None:
        """A batch was answered just now.

        Args:
          departure: when it left, and why.
          padded_to: rows that were computed.
          gathers: whether batches wait to be fuller.
          frees: whether the engine was fully taken until now, so that others had to wait for it.
        """
        began, reason = departure.began, departure.reason
        self._answered.append(_Answered(batch.requests, began, now, departure.moment, gathers))
        if frees:
            self.delays.engine_is_free(now)
        self._compute_s.observe(now - began)
        self._batch_rows.observe(batch.rows)
        self.rows += batch.rows
        self.batches += 1
        self.padding += padded_to - batch.rows
        self.reasons[reason] += 1
        if len(self._answered) >= SETTLE_BATCHES:
            self._settle()

    def _settle(self) -> None:
        """Look at the requests of all batches that have left since the last time, at once: that costs least."""
        answered, self._answered = self._answered, []
        if not answered:
            return
        counts = [len(each.requests) for each in answered]
        arrived = np.array([request.arrived for each in answered for request in each.requests])
        began, now = (np.repeat(times, counts) for times in zip(*((e.began, e.now) for e in answered), strict=True))
        self._request_s.observe_all(now - arrived)
        self._queue_s.observe_all(began - arrived)
        steps = np.repeat([each.requests[0].session is not None for each in answered], counts)
        moments = np.repeat([each.moment for each in answered], counts, axis=0)
        gathers = np.repeat([each.gathers for each in answered], counts)
        self.delays.left(arrived[steps], began[steps], now[steps], moments[steps], gathers[steps])

    def error(self, code: str, text: str) -> None:
        """An ERROR was sent."""
        self.errors[code] += 1
        # Every actor asks again and again until the first weights are here, or another server; a setting is told to
        # who would set it.
        if code not in (ErrorCode.NOT_READY, ErrorCode.DRAINING, ErrorCode.SETTING):
            self.last_errors.append(f"{code}: {text}")

    def tick(self) -> None:
        """Once in a while: moves the window over which speeds are averaged."""
        self._settle()
        self._window.append((self._clock(), self.rows, self.batches))

    def figures(self) -> dict[str, Any]:
        """The figures as msgpack takes them; names as in docs/protocol.md."""
        self._settle()
        since, rows, batches = self._window[0]
        elapsed = max(self._clock() - since, 1e-9)
        p50, p99 = self._request_s.percentiles(50, 99)
        queue_p50, queue_p99 = self._queue_s.percentiles(50, 99)
        compute_p50, compute_p99 = self._compute_s.percentiles(50, 99)
        sizes = self._batch_rows.snapshot()
        sizes_seen = np.diff(sizes.cumulative, prepend=0).tolist()
        return {
            "rows": self.rows,
            "rows_per_s": (self.rows - rows) / elapsed,
            "env_steps": self.env_steps,
            "batches": self.batches,
            "batch_reasons": {str(reason): count for reason, count in self.reasons.items()},
            "padding_rows": self.padding,
            "mean_batch": self.rows / self.batches if self.batches else 0.0,
            "recent_batch": (self.rows - rows) / (self.batches - batches) if self.batches > batches else 0.0,
            "latency_p50_ms": p50 * 1e3,
            "latency_p99_ms": p99 * 1e3,
            "queue_p50_ms": queue_p50 * 1e3,
            "queue_p99_ms": queue_p99 * 1e3,
            "compute_p50_ms": compute_p50 * 1e3,
            "compute_p99_ms": compute_p99 * 1e3,
            "compute_s": self._compute_s.snapshot().total,
            "batch_rows_histogram": [list(pair) for pair in zip(sizes.bounds, sizes_seen, strict=False)],
            "episodes": self.episodes,
            "mean_return": float(np.mean(self.returns)) if self.returns else 0.0,
            "errors": dict(self.errors),
            "last_errors": list(self.last_errors),
        }

    def samples(self) -> Samples:
        """The figures for Prometheus; names as in `corral.telemetry.catalogue`."""
        self._settle()
        return {
            "inference_requests_total": {"ok": len(self._request_s), **self.errors},
            "inference_rows_total": self.rows,
            "inference_batches_total": {str(reason): self.reasons[reason] for reason in Reason},
            "inference_batch_rows": self._batch_rows.snapshot(),
            "inference_padding_rows_total": self.padding,
            "inference_queue_seconds": self._queue_s.snapshot(),
            "inference_compute_seconds": self._compute_s.snapshot(),
            "inference_request_seconds": self._request_s.snapshot(),
            "environment_steps_total": self.env_steps,
            "episodes_total": self.episodes,
        }
