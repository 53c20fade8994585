"""INFER: stateless rows in, the agent's outputs out. No session, no trajectory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from corral.protocol import HEADER_BYTES, ErrorCode, Header, MessageType, ProtocolError
from corral.telemetry.tracer import span
from inference_server.answers import Answers
from inference_server.batch import Batch, Request
from inference_server.batcher import Reason
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.replica import Inputs, Task
from inference_server.screen import Screen
from inference_server.service import Service, leaving
from inference_server.settings import BatchingSettings
from inference_server.stats import Stats


class InferService(Service):
    """Answers INFER with what the agent does greedily, from its initial recurrent state."""

    def __init__(
        self,
        settings: BatchingSettings,
        engine: Engine,
        frontend: Frontend,
        screen: Screen,
        stats: Stats,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(settings, engine, frontend, screen, stats, clock)
        self._most_waiting = settings.waiting_rows()
        spec, size = self._spec, settings.max_size
        initial = engine.agent.initial_state(size)
        self._state = {name: np.asarray(initial[name], leaf.dtype) for name, leaf in spec.state.items()}
        self._first = np.ones(size, bool)
        self._noise = np.zeros((size, spec.noise), np.float32)
        self._greedy = np.zeros((size, spec.explore), np.float32)

    def configure(self, settings: BatchingSettings) -> None:
        """Batch by these settings from now on."""
        super().configure(settings)
        self._most_waiting = settings.waiting_rows()

    def receive(self, routing: bytes, header: Header, head: bytes) -> None:
        """Take the rows of an INFER in. Raises `ProtocolError`."""
        if self._draining:
            raise leaving()
        rows = header.rows
        if len(head) != HEADER_BYTES or header.ended:
            raise ProtocolError(ErrorCode.MALFORMED, "INFER has a header and observation frames, nothing else")
        if not 1 <= rows <= self._queue.capacity:
            raise ProtocolError(ErrorCode.LIMIT, f"INFER takes 1 to {self._queue.capacity} rows, not {rows}")
        waiting = self._queue.batcher.rows
        # Whoever finds nobody waiting is let in, however many rows it brings.
        if waiting and waiting + rows > self._most_waiting:
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{waiting} rows wait, and {rows} more would be over {self._most_waiting}: ask again later",
            )
        batch = self._queue.room_for(rows)
        start, stop = batch.rows, batch.rows + rows
        for leaf in batch.observation_rows:
            self._frontend.read_into(leaf, start, stop)
        self._frontend.end()
        self._queue.commit(batch, Request(None, routing, header.sequence, start, stop, self._clock()))

    def due(self) -> Reason | None:
        """Why the first batch should leave now, or None."""
        if not self._engine.is_free:
            return None
        # Who else might ask is unknown: clients come and go without a word.
        return self._queue.reason(live=0)

    def wait_s(self) -> float | None:
        """Seconds until `due` changes by time alone."""
        return self._queue.batcher.wait_s() if self._engine.is_free else None

    def _gather(self, batch: Batch) -> Inputs:
        # The same for every batch, and nobody writes to it.
        return Inputs(batch.observation, self._state, self._first, self._noise, self._greedy)

    @span("deliver")
    def _deliver(self, batch: Batch, task: Task) -> None:
        answers = Answers(MessageType.OUTPUTS, task.outputs, list(self._spec.outputs), task.version)
        for request in batch.requests:
            frame = answers.cut(0, request.sequence, request.start, request.stop)
            self._frontend.send(request.routing, frame)

    def _turn_down(self, request: Request, error: ProtocolError) -> None:
        self._stats.error(error.code, error.text)
        self._fail(request, error)

    def _fail(self, request: Request, failure: ProtocolError) -> None:
        self._frontend.send_error(request.routing, 0, request.sequence, failure)
