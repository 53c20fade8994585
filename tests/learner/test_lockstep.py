from __future__ import annotations

from typing import Any

import numpy as np

from learner.lockstep import FreshChunks, ReplayChunks, fingerprint
from learner.settings import LearnerSettings, ReplaySettings
from tests.learner.test_feed import SPEC, Source


def test_a_fresh_chunk_is_so_many_batches_and_no_more() -> None:
    feed = FreshChunks(Source(8), 2, batches=3)  # type: ignore[arg-type]
    assert (feed.came, feed.used_up) == (False, False)
    for left in (2, 1, 0):
        assert feed.next() is not None
        assert (feed.came, feed.used_up) == (True, left == 0)
    assert feed.next() is None  # though there are unrolls
    feed.turn()
    assert (feed.came, feed.used_up) == (False, False)
    assert feed.next() is not None


def replay(source: Source, chunk: int, **settings: Any) -> ReplayChunks:
    replays = ReplaySettings(capacity=3_000, **{"min_size": 3, "samples_per_insert": 2.0, **settings})
    return ReplayChunks(LearnerSettings(batch_unrolls=4, replay=replays), SPEC, source, chunk)  # type: ignore[arg-type]


def drawn(feed: ReplayChunks) -> int:
    """Batches until there are no more, which ends the chunk."""
    count = 0
    while feed.next() is not None:
        count += 1
    return count


def test_a_chunk_goes_into_the_replay_whole_and_all_that_is_owed_comes_out() -> None:
    np.random.seed(0)
    source = Source(6)
    feed = replay(source, chunk=2, min_size=9)
    assert drawn(feed) == 0  # it fills the replay, and owes nothing yet
    assert feed.used_up
    assert source.taken == 2
    counts = []
    for _ in range(2):
        feed.turn()
        assert not feed.used_up
        counts.append(drawn(feed))
        assert feed.used_up
    # Two unrolls bring 6 sequences, to be drawn twice: 3 batches of 4.
    assert counts == [3, 3]
    assert source.taken == 6


def test_without_a_chunk_nothing_is_used_up() -> None:
    feed = replay(Source(), chunk=2)
    assert feed.next() is None
    assert (feed.came, feed.used_up) == (False, False)


def test_a_fingerprint_tells_every_bit_name_and_shape() -> None:
    weights = {"b": np.zeros(4, np.float32), "a": np.ones((2, 2), np.float32)}
    same = fingerprint(weights)
    assert len(same) == 64
    assert fingerprint(dict(reversed(weights.items()))) == same
    others = [
        weights | {"b": np.array([0, 0, 0, -0.0], np.float32)},
        weights | {"b": np.zeros(4, np.int32)},
        weights | {"b": np.zeros((2, 2), np.float32)},
        {"c": weights["b"], "a": weights["a"]},
    ]
    assert len({same, *map(fingerprint, others)}) == 5
