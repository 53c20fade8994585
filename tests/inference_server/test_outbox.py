from __future__ import annotations

import numpy as np

from corral.protocol.unrolls import Columns
from inference_server.outbox import Outbox


def columns(*values: float, steps: int = 1) -> Columns:
    leaves = {"reward": np.array([values, values], np.float32), "state/h": np.array(values, np.float32)}
    return Columns(leaves, steps)


def test_what_waits_travels_together_with_the_counts() -> None:
    outbox = Outbox("block")
    outbox.window = 10
    outbox.put([columns(1), columns(2, 3)], 5, [[7.0, 3]])
    outbox.put([columns(4)], 2, [])
    assert outbox.unsent
    parcel = outbox.collect()
    assert parcel is not None
    assert (parcel.sequence, parcel.manifest.unrolls, parcel.manifest.steps) == (1, 4, 7)
    assert parcel.manifest.episodes == [[7.0, 3]]
    assert parcel.leaves["reward"].tolist() == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert parcel.leaves["state/h"].tolist() == [1, 2, 3, 4]
    assert not outbox.unsent
    assert outbox.collect() is None


def test_counts_without_unrolls_wait_for_the_next_parcel() -> None:
    outbox = Outbox("block")
    outbox.put([], 3, [[1.0, 1]])
    assert outbox.collect() is None
    outbox.put([columns(1)], 2, [])
    parcel = outbox.collect()
    assert parcel is not None
    assert (parcel.manifest.steps, parcel.manifest.episodes) == (5, [[1.0, 1]])


def test_it_blocks_until_the_learner_has_accepted() -> None:
    outbox = Outbox("block")
    outbox.window = 2
    outbox.put([columns(1)], 1, [])
    assert not outbox.blocked
    outbox.put([columns(2)], 1, [])
    assert outbox.blocked
    outbox.collect()
    assert outbox.blocked
    outbox.accept(1)
    assert not outbox.blocked
    assert outbox.accepted_unrolls == 2


def test_it_keeps_what_was_sent_until_it_is_accepted() -> None:
    outbox = Outbox("block")
    outbox.window = 9
    for value in (1, 2, 3):
        outbox.put([columns(value)], 1, [])
        outbox.collect()
    assert outbox.first_sequence == 1
    outbox.accept(2)
    assert [parcel.sequence for parcel in outbox.unaccepted()] == [3]
    outbox.accept(2)
    assert outbox.first_sequence == 3
    outbox.accept(3)
    assert outbox.first_sequence == 4


def test_shedding_drops_the_oldest_that_have_not_been_sent() -> None:
    outbox = Outbox("shed")
    outbox.window = 3
    outbox.put([columns(1)], 1, [])
    outbox.collect()
    outbox.put([columns(2), columns(3), columns(4)], 3, [])
    assert not outbox.blocked
    assert outbox.shed_unrolls == 1
    parcel = outbox.collect()
    assert parcel is not None
    assert parcel.leaves["reward"][0].tolist() == [3, 4]


def test_it_knows_where_every_step_is() -> None:
    outbox = Outbox("shed")
    outbox.window = 3
    outbox.put([columns(1, steps=10)], 1, [])
    first = outbox.collect()
    outbox.put([columns(2, steps=20), columns(3, steps=30), columns(4, steps=40)], 3, [])
    assert outbox.steps == (0, 20, 80)
    second = outbox.collect()
    assert first is not None
    assert second is not None
    assert (first.manifest.held, first.manifest.held_before) == (10, 0)
    assert (second.manifest.held, second.manifest.held_before) == (70, 10)
    outbox.accept(1)
    assert outbox.steps == (10, 20, 70)
    outbox.accept(2)
    assert outbox.steps == (80, 20, 0)


def test_another_learner_gets_nothing_of_what_the_one_before_was_to_get() -> None:
    outbox = Outbox("block")
    outbox.window = 9
    outbox.renew(7)
    outbox.put([columns(1, steps=3)], 3, [])
    outbox.collect()
    outbox.put([columns(2, steps=4)], 4, [[1.0, 4]])
    outbox.renew(7)  # the same one
    assert outbox.unaccepted_unrolls == 2

    outbox.renew(8)
    assert (outbox.unaccepted_unrolls, outbox.unaccepted(), outbox.collect()) == (0, [], None)
    assert (outbox.shed_unrolls, outbox.shed_steps, outbox.shed_episodes) == (2, 7, 1)
    outbox.put([columns(3, steps=5)], 5, [])
    parcel = outbox.collect()
    assert parcel is not None
    assert (parcel.sequence, parcel.manifest.steps, outbox.first_sequence) == (2, 5, 2)
    assert outbox.steps == (0, 7, 5)
