"""What both services of the server do: batches that fill up, leave, are computed and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from corral.protocol import ErrorCode, ProtocolError
from corral.telemetry.tracer import span
from inference_server.batch import Batch, BatchQueue, Request
from inference_server.batcher import Batcher, Reason
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.screen import Screen
from inference_server.settings import BatchingSettings
from inference_server.stats import Stats

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def leaving() -> ProtocolError:
    """Why a server that drains takes in nothing more."""
    return ProtocolError(ErrorCode.DRAINING, "this server is about to leave: ask again, until another one is here")


class Service(Generic[Result]):
    """Batches of one kind of request. Subclasses receive them, act, deliver what came of it, and tell a failure."""

    def __init__(
        self,
        settings: BatchingSettings,
        engine: Engine,
        frontend: Frontend,
        screen: Screen,
        stats: Stats,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._frontend = frontend
        self._stats = stats
        self._clock = clock
        self._spec = engine.agent.spec
        self._screen = screen if screen.names else None
        self._queue = BatchQueue(Batcher(settings, clock), self._spec.observation)
        self._draining = False

    def configure(self, settings: BatchingSettings) -> None:
        """Batch by these settings from now on."""
        self._queue.batcher.configure(settings)

    @property
    def timeout_us(self) -> int:
        """Longest wait of the oldest request now, in microseconds, given or chosen."""
        return self._queue.batcher.timeout_us

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a batch to take them along."""
        return self._queue.batcher.rows

    @property
    def waiting_requests(self) -> int:
        """Requests that wait for a batch to take them along."""
        return self._queue.batcher.requests

    def drain(self) -> None:
        """Answer all that waits, whatever it waits for, and take in nothing more."""
        self._draining = True
        while self._queue.batcher.requests:
            self.run(Reason.IDLE)

    @span("batch", lambda rows, service, reason: {"rows": rows, "reason": reason}, work=True)
    def run(self, reason: Reason) -> int:
        """Compute the first batch and answer it; its rows."""
        batch = self._queue.take()
        if self._screen is not None and not self._screen.is_clean(batch):
            self._leave_out(batch, self._screen.refusals(batch))
        self._inspect(batch)
        rows = batch.rows
        if rows:
            began = self._clock()
            self._compute(batch)
            self._queue.batcher.computed(batch.rows, self._clock() - began)
            padded_to = self._engine.padded(batch.rows)
            self._stats.batch_left(batch, reason, padded_to, began, gathers=self._queue.batcher.timeout_us > 0)
        self._queue.recycle(batch)
        return rows

    def _inspect(self, batch: Batch) -> None:
        """Refuse what cannot be computed, and leave it out of the batch."""

    def _leave_out(self, batch: Batch, refusals: Mapping[int, ProtocolError]) -> None:
        """Refuse requests of a batch, by their number in it, and take their rows out."""
        kept = [request for number, request in enumerate(batch.requests) if number not in refusals]
        for number, error in refusals.items():
            self._turn_down(batch.requests[number], error)
        batch.keep(kept)

    def _turn_down(self, request: Request, error: ProtocolError) -> None:
        """Answer a request that cannot be computed."""
        raise NotImplementedError

    def _act(self, batch: Batch) -> Result:
        """What the model makes of a batch. Leaves no trace where it raises."""
        raise NotImplementedError

    def _deliver(self, batch: Batch, result: Result) -> None:
        """Answer every request of a batch."""
        raise NotImplementedError

    def _fail(self, request: Request, failure: ProtocolError) -> None:
        """Answer a request on which the model failed."""
        raise NotImplementedError

    def _compute(self, batch: Batch) -> None:
        try:
            result = self._act(batch)
        except Exception as error:
            # A model that fails on its input costs that request its answer, neither others nor the server.
            log.exception("the model failed on a batch of %d rows", batch.rows)
            if len(batch.requests) > 1:
                for part in batch.split():
                    self._compute(part)
            else:
                failure = ProtocolError(ErrorCode.INTERNAL, f"the model failed: {type(error).__name__}: {error}")
                self._stats.error(failure.code, failure.text)
                self._fail(batch.requests[0], failure)
            batch.wipe()
        else:
            self._deliver(batch, result)
