"""What both services of the server do: batches that fill up, leave, are computed and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from corral.protocol import ErrorCode, ProtocolError
from inference_server.batch import Batch, BatchQueue, Request
from inference_server.batcher import Batcher, Reason
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.settings import BatchingSettings
from inference_server.stats import Stats

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Service(Generic[Result]):
    """Batches of one kind of request. Subclasses receive them, act, deliver what came of it, and tell a failure."""

    def __init__(
        self,
        settings: BatchingSettings,
        engine: Engine,
        frontend: Frontend,
        stats: Stats,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._frontend = frontend
        self._stats = stats
        self._clock = clock
        self._spec = engine.agent.spec
        self._queue = BatchQueue(Batcher(settings, clock), self._spec.observation)

    def configure(self, settings: BatchingSettings) -> None:
        """Batch by these settings from now on."""
        self._queue.batcher.configure(settings)

    @property
    def timeout_us(self) -> int:
        """Longest wait of the oldest request now, in microseconds, given or chosen."""
        return self._queue.batcher.timeout_us

    def run(self, reason: Reason) -> None:
        """Compute the first batch and answer it."""
        batch = self._queue.take()
        self._inspect(batch)
        if batch.rows:
            began = self._clock()
            self._compute(batch)
            self._queue.batcher.computed(batch.rows, self._clock() - began)
            self._stats.batch_left(batch, reason, self._engine.padded(batch.rows), began)
        self._queue.recycle(batch)

    def _inspect(self, batch: Batch) -> None:
        """Refuse what cannot be computed, and leave it out of the batch."""

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
