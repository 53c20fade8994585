"""Batches that fill up, one after the other."""

from __future__ import annotations

import numpy as np

from corral.protocol import TensorSpec
from inference_server.batch import Batch, BatchQueue, Request
from inference_server.batcher import Batcher, Reason
from inference_server.settings import BatchingSettings


def make(max_size: int) -> BatchQueue:
    batcher = Batcher(BatchingSettings(max_size=max_size), lambda: 1.0)
    return BatchQueue(batcher, {"observation": TensorSpec((), "float32")})


def put(queue: BatchQueue, rows: int) -> None:
    batch = queue.room_for(rows)
    queue.commit(batch, Request(None, b"", 1, batch.rows, batch.rows + rows, 1.0))


def sizes(queue: BatchQueue) -> list[int]:
    """Rows of every batch that leaves, in order."""
    found = []
    while queue.reason(live=0) is not None:
        batch = queue.take()
        found.append(batch.rows)
        queue.recycle(batch)
    return found


def test_what_does_not_fit_opens_the_next_batch() -> None:
    queue = make(8)
    for rows in (5, 3, 4, 5):
        put(queue, rows)
    assert queue.reason(live=0) is Reason.FULL
    assert sizes(queue) == [8, 4, 5]


def test_a_smaller_size_counts_from_now_on() -> None:
    queue = make(8)
    put(queue, 5)
    queue.batcher.configure(BatchingSettings(max_size=4))
    for rows in (2, 2, 1):
        put(queue, rows)
    assert sizes(queue) == [5, 4, 1]


def test_a_request_larger_than_a_batch_rides_alone() -> None:
    queue = make(8)
    queue.batcher.configure(BatchingSettings(max_size=4))
    for rows in (1, 8, 1, 3):
        put(queue, rows)
    assert queue.capacity == 8
    assert sizes(queue) == [1, 8, 4]


def test_the_first_size_can_be_had_again() -> None:
    queue = make(8)
    queue.batcher.configure(BatchingSettings(max_size=2))
    put(queue, 2)
    queue.batcher.configure(BatchingSettings(max_size=8))
    put(queue, 6)
    assert sizes(queue) == [8]


def test_it_says_when_nothing_more_need_be_read() -> None:
    queue = make(8)
    put(queue, 8)
    assert not queue.full
    put(queue, 1)
    assert queue.full
    queue.recycle(queue.take())
    assert not queue.full


def test_requests_can_change_places_with_all_that_is_theirs() -> None:
    batch = Batch(8, {"x": TensorSpec((2,), "float32")})
    batch.observation["x"][:6] = np.arange(6)[:, None]
    batch.table["reward"][:6] = np.arange(6)
    batch.slots[:6] = 10 + np.arange(6)
    batch.final["x"][:3] = 100 + np.arange(3)[:, None]
    first, second, third = (
        Request(None, name, 1, start, stop, 0.0, finals)
        for name, start, stop, finals in ((b"a", 0, 1, 1), (b"b", 1, 4, 2), (b"c", 4, 6, 0))
    )
    batch.requests, batch.rows, batch.finals = [first, second, third], 6, 3

    batch.keep([third, first, second])
    assert [(each.routing, each.start, each.stop) for each in batch.requests] == [
        (b"c", 0, 2),
        (b"a", 2, 3),
        (b"b", 3, 6),
    ]
    assert batch.observation["x"][:6, 0].tolist() == [4, 5, 0, 1, 2, 3]
    assert batch.table["reward"][:6].tolist() == [4, 5, 0, 1, 2, 3]
    assert batch.slots[:6].tolist() == [14, 15, 10, 11, 12, 13]
    assert batch.final["x"][:3, 0].tolist() == [100, 101, 102]
    batch.keep([batch.requests[2], batch.requests[1]])
    assert batch.final["x"][:3, 0].tolist() == [101, 102, 100]
