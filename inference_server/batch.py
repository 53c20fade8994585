"""A batch that fills up: arrays as long as the largest bucket, written row by row as messages arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from corral.protocol import ROW, Spec
from inference_server.batcher import Batcher, Reason
from inference_server.rows import Rows
from inference_server.sessions import Session


class Request(NamedTuple):
    """One message's share of a batch: rows `start` to `stop`, whom to answer, and since when it waits.

    `session` is None for stateless rows, whose answer goes to `routing`; a session knows its own address,
    which a resend may have changed.
    """

    session: Session | None
    routing: bytes
    sequence: int
    start: int
    stop: int
    arrived: float
    finals: int = 0


class Batch:
    """Preallocated rows.

    Attributes:
      observation: leaf -> `[size, ...]`.
      final: leaf -> `[size, ...]`, final observations in order of arrival.
      table: `ROW` `[size]`, as it came; nobody has looked at it yet.
      slots: int64 `[size]`.
      observation_rows, final_rows, table_rows: the memory of these, to write into.
      rows, finals: how many are filled.
    """

    def __init__(self, size: int, observation: Spec) -> None:
        self.size = size
        self._spec = observation
        self.observation_rows = [Rows.of(name, size, leaf) for name, leaf in observation.items()]
        self.final_rows = [Rows.of(f"final {name}", size, leaf) for name, leaf in observation.items()]
        self.table_rows = Rows("table", size, ROW)
        self.observation = dict(zip(observation, (rows.array for rows in self.observation_rows), strict=True))
        self.final = dict(zip(observation, (rows.array for rows in self.final_rows), strict=True))
        self.table = self.table_rows.array
        self.slots = np.zeros(size, np.int64)
        self.requests: list[Request] = []
        self.rows = 0
        self.finals = 0

    def clear(self) -> None:
        """Make room for the next rows."""
        self.requests = []
        self.rows = self.finals = 0

    def wipe(self) -> None:
        """Forget what the arrays hold: rows on which the model failed must not be the padding of later batches."""
        for leaf in (*self.observation.values(), *self.final.values()):
            leaf[...] = 0

    def split(self) -> list[Batch]:
        """Every request in a batch of its own."""
        parts = []
        for request in self.requests:
            part = Batch(self.size, self._spec)
            part.take(self, [request])
            parts.append(part)
        return parts

    def keep(self, requests: Sequence[Request]) -> None:
        """Leave out the rows of all other requests; those of these stand in their order."""
        self.take(self, requests)

    def take(self, other: Batch, requests: Sequence[Request]) -> None:
        """Hold the rows of these requests of `other`, and nothing else."""
        finals_before = np.cumsum([0, *(request.finals for request in other.requests)])
        first_final = {request.start: first for request, first in zip(other.requests, finals_before, strict=False)}
        rows = _ranges([(request.start, request.stop - request.start) for request in requests])
        finals = _ranges([(first_final[request.start], request.finals) for request in requests])
        mine = ((self.table, other.table), (self.slots, other.slots), *self._pairs(other, "observation"))
        for ours, theirs in mine:
            ours[: len(rows)] = theirs[rows]
        for ours, theirs in self._pairs(other, "final"):
            ours[: len(finals)] = theirs[finals]
        starts = np.cumsum([0, *(request.stop - request.start for request in requests)]).tolist()
        self.requests = [
            request._replace(start=start, stop=stop)
            for request, start, stop in zip(requests, starts, starts[1:], strict=False)
        ]
        self.rows, self.finals = len(rows), len(finals)

    def _pairs(self, other: Batch, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
        ours, theirs = getattr(self, kind), getattr(other, kind)
        return [(ours[name], theirs[name]) for name in self._spec]


class BatchQueue:
    """The batches of one kind of request: the last one fills, the ones before are full, the first leaves next.

    What waits is bounded by the slots of sessions (each has one STEP outstanding) or by the rows of INFER that may
    wait, and so is the number of batches.

    Attributes:
      capacity: rows that a batch can hold, and so the most rows of one request. A batch is full at
        `batcher.max_size`, which may be less, for that one can change while the server runs.
    """

    def __init__(self, batcher: Batcher, observation: Spec) -> None:
        self.batcher = batcher
        self.capacity = batcher.max_size
        self._observation = observation
        self._waiting: deque[Batch] = deque()
        self._spare: list[Batch] = []

    def room_for(self, rows: int) -> Batch:
        """The batch that takes the next `rows` rows; a new one where they do not fit any more."""
        last = self._waiting[-1] if self._waiting else None
        # A request of more rows than a batch should have rides alone.
        if last is None or (last.rows and last.rows + rows > self.batcher.max_size):
            last = self._spare.pop() if self._spare else Batch(self.capacity, self._observation)
            self._waiting.append(last)
        return last

    @property
    def full(self) -> bool:
        """Whether a batch waits to which nothing more is added."""
        return len(self._waiting) > 1

    def commit(self, batch: Batch, request: Request) -> None:
        """The rows of `request` are written into `batch`."""
        batch.requests.append(request)
        batch.rows = request.stop
        batch.finals += request.finals
        self.batcher.add(request.stop - request.start)

    def reason(self, live: int) -> Reason | None:
        """Why the first batch should leave now, or None."""
        return Reason.FULL if self.full else self.batcher.reason(live)

    def take(self) -> Batch:
        """The first batch, which leaves. Give it back with `recycle` when its results are out."""
        batch = self._waiting.popleft()
        oldest = next((request.arrived for waiting in self._waiting for request in waiting.requests), None)
        self.batcher.take(batch.rows, len(batch.requests), oldest)
        return batch

    def recycle(self, batch: Batch) -> None:
        """Reuse a batch that was taken."""
        batch.clear()
        self._spare.append(batch)


def _ranges(parts: Sequence[tuple[int, int]]) -> np.ndarray:
    """The numbers of every `(start, count)`, one behind the other."""
    return np.concatenate([np.arange(0), *(np.arange(start, start + count) for start, count in parts)])
