"""A batch that fills up: arrays as long as the largest bucket, written row by row as messages arrive."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from corral.protocol import Spec
from inference_server.batcher import Batcher, Reason
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


class Batch:
    """Preallocated rows.

    Attributes:
      observation: leaf -> `[size, ...]`.
      final: leaf -> `[size, ...]`, final observations in order of arrival; `ended` names the row of each.
      slots, reward, flags, ended: `[size]`.
      rows, finals: how many are filled.
    """

    def __init__(self, size: int, observation: Spec) -> None:
        self.size = size
        self._spec = observation
        self.observation = {name: leaf.zeros(size) for name, leaf in observation.items()}
        self.final = {name: leaf.zeros(size) for name, leaf in observation.items()}
        self.slots = np.zeros(size, np.int64)
        self.reward = np.zeros(size, np.float32)
        self.flags = np.zeros(size, np.uint16)
        self.ended = np.zeros(size, np.int64)
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
        return [self._alone(request) for request in self.requests]

    def _alone(self, request: Request) -> Batch:
        part = Batch(self.size, self._spec)
        rows = slice(request.start, request.stop)
        part.rows = count = request.stop - request.start
        finals = np.flatnonzero((self.ended[: self.finals] >= rows.start) & (self.ended[: self.finals] < rows.stop))
        part.finals = len(finals)
        for name in self._spec:
            part.observation[name][:count] = self.observation[name][rows]
            part.final[name][: len(finals)] = self.final[name][finals]
        for ours, theirs in ((part.slots, self.slots), (part.reward, self.reward), (part.flags, self.flags)):
            ours[:count] = theirs[rows]
        part.ended[: len(finals)] = self.ended[finals] - rows.start
        part.requests = [request._replace(start=0, stop=count)]
        return part


class BatchQueue:
    """The batches of one kind of request: the last one fills, the ones before are full, the first leaves next.

    What waits is bounded by the peers' requests (each has one outstanding), and so is the number of batches.

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

    def commit(self, batch: Batch, request: Request, finals: int = 0) -> None:
        """The rows of `request` are written into `batch`."""
        batch.requests.append(request)
        batch.rows = request.stop
        batch.finals += finals
        self.batcher.add(request.stop - request.start)

    def reason(self, live: int) -> Reason | None:
        """Why the first batch should leave now, or None."""
        return Reason.FULL if len(self._waiting) > 1 else self.batcher.reason(live)

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
