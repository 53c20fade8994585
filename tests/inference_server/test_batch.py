"""Batches that fill up, one after the other."""

from __future__ import annotations

from corral.protocol import TensorSpec
from inference_server.batch import BatchQueue, Request
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
