"""What both services of the server do: batches that fill up, leave, are computed and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from corral.protocol import ErrorCode, ProtocolError
from corral.telemetry.tracer import span
from inference_server.batch import Batch, BatchQueue, Request
from inference_server.batcher import Batcher, Reason
from inference_server.delays import Departure
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.replica import Inputs, Task
from inference_server.screen import Screen
from inference_server.settings import BatchingSettings
from inference_server.stats import Stats

log = logging.getLogger(__name__)


def leaving() -> ProtocolError:
    """Why a server that drains takes in nothing more."""
    return ProtocolError(ErrorCode.DRAINING, "this server is about to leave: ask again, until another one is here")


DRAIN_LOOK_S = 0.1
"""Seconds between two looks, while it drains, at what is under way."""


class Service:
    """Batches of one kind of request. Subclasses receive them, gather what a model takes, deliver what came of it,
    and tell a failure."""

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
        self._under_way = 0  # batches
        self._requests_under_way = 0

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
        while self._queue.batcher.requests or self._under_way:
            if self._queue.batcher.requests and self._engine.is_free:
                self.run(Reason.IDLE)
            else:
                self._engine.collect(DRAIN_LOOK_S)

    @span("batch", lambda rows, service, reason: {"rows": rows, "reason": reason}, work=True)
    def run(self, reason: Reason) -> int:
        """Have the first batch computed; its rows. The engine has to be free."""
        batch = self._queue.take()
        if self._screen is not None and not self._screen.is_clean(batch):
            self._leave_out(batch, self._screen.refusals(batch))
        self._inspect(batch)
        rows = batch.rows
        if rows:
            departure = Departure(reason, self._clock(), self._stats.delays.moment)
            self._under_way += 1
            self._requests_under_way += len(batch.requests)
            task = self._act(batch, departure)
            if task is not None:
                self._arrive(batch, departure, task)
        else:
            self._queue.recycle(batch)
        return rows

    @span("act")
    def _act(self, batch: Batch, departure: Departure) -> Task | None:
        """Have a batch computed; what came of it, where one replica has done that here and now."""
        task = Task(batch.rows, self._gather(batch), partial(self._arrive, batch, departure))
        return task if self._engine.begin(task) else None

    def _arrive(self, batch: Batch, departure: Departure, task: Task) -> None:
        """A batch is computed: answer it."""
        all_were_busy = self._engine.under_way == len(self._engine.replicas) - 1
        self._under_way -= 1
        self._requests_under_way -= len(batch.requests)
        self._conclude(batch, task)
        now = self._clock()
        self._queue.batcher.computed(batch.rows, now - departure.began)
        self._stats.batch_left(
            batch,
            departure,
            self._engine.padded(batch.rows),
            now,
            gathers=self._queue.batcher.timeout_us > 0,
            frees=all_were_busy,
        )
        self._give_back(task.inputs)
        self._queue.recycle(batch)

    def _conclude(self, batch: Batch, task: Task) -> None:
        """Answer a batch, or, where the model failed on it, each of its requests by itself."""
        if task.error is None:
            self._deliver(batch, task)
            return
        # A model that fails on its input costs that request its answer, neither others nor the server.
        log.error("the model failed on a batch of %d rows", batch.rows, exc_info=task.error)
        if len(batch.requests) > 1:
            for part in batch.split():
                again = Task(part.rows, self._gather(part), lambda task: None)
                self._engine.run(again)
                self._conclude(part, again)
                self._give_back(again.inputs)
        else:
            error = task.error
            failure = ProtocolError(ErrorCode.INTERNAL, f"the model failed: {type(error).__name__}: {error}")
            self._stats.error(failure.code, failure.text)
            self._fail(batch.requests[0], failure)
        batch.wipe()

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

    def _gather(self, batch: Batch) -> Inputs:
        """What the model takes of a batch, in arrays that are the batch's alone until `_give_back`."""
        raise NotImplementedError

    def _give_back(self, inputs: Inputs) -> None:
        """What was gathered is not needed any more."""

    def _deliver(self, batch: Batch, task: Task) -> None:
        """Answer every request of a batch."""
        raise NotImplementedError

    def _fail(self, request: Request, failure: ProtocolError) -> None:
        """Answer a request on which the model failed."""
        raise NotImplementedError
