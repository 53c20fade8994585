from __future__ import annotations

import numpy as np

from corral.protocol.unrolls import Columns
from inference_server.lockstep import Lockstep


def columns(*values: float, steps: int = 1) -> Columns:
    leaves = {"reward": np.array([values, values], np.float32), "state/h": np.array(values, np.float32)}
    return Columns(leaves, steps)


def acting(environments: int = 4, chunk: int = 3, spacing: int = 10, version: int = 1) -> Lockstep:
    lockstep = Lockstep(environments, chunk, spacing)
    assert lockstep.flipped(epoch=5, version=version)
    return lockstep


def test_all_step_together_and_not_before_there_are_weights() -> None:
    lockstep = Lockstep(4, 3, 10)
    assert not lockstep.may_step(seats=4, sessions=2, waiting=2)
    lockstep.flipped(5, 1)
    assert lockstep.may_step(seats=4, sessions=2, waiting=2)
    assert not lockstep.may_step(seats=4, sessions=2, waiting=1)
    assert not lockstep.may_step(seats=3, sessions=2, waiting=2)


def test_chunks_have_one_size_and_each_waits_for_a_version() -> None:
    lockstep = acting(chunk=3)
    assert lockstep.gather([columns(1, 2, steps=6)]) == []
    (chunk,) = lockstep.gather([columns(3, 4, steps=5)])
    assert chunk["reward"].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert chunk["state/h"].tolist() == [1, 2, 3]
    assert chunk.steps == 11
    assert lockstep.waits
    assert not lockstep.may_step(4, 1, 1)

    assert not lockstep.flipped(5, 2)
    assert lockstep.may_step(4, 1, 1)
    (chunk,) = lockstep.gather([columns(5), columns(6)])
    assert chunk["state/h"].tolist() == [4, 5, 6]
    assert chunk.steps == 2


def test_a_chunk_that_is_left_over_leaves_with_the_next_version_without_a_tick() -> None:
    lockstep = acting(chunk=2)
    assert len(lockstep.gather([columns(1, 2, 3, 4)])) == 1
    assert lockstep.gather([]) == []
    lockstep.flipped(5, 2)
    (chunk,) = lockstep.gather([])
    assert chunk["state/h"].tolist() == [3, 4]


def test_a_generation_begins_every_so_many_versions_and_with_each_learner() -> None:
    lockstep = acting(spacing=4, version=2)
    assert [lockstep.flipped(5, version) for version in (3, 4, 5, 8)] == [False, True, False, True]
    assert lockstep.flipped(6, 7)


def test_a_generation_leaves_behind_what_was_begun_and_counts_it() -> None:
    lockstep = acting(chunk=3, spacing=4, version=3)
    lockstep.gather([columns(1, 2, steps=7)])
    lockstep.flipped(5, 4)
    assert lockstep.dropped_steps == 7
    assert lockstep.gather([columns(3)]) == []


def test_without_a_session_that_has_begun_a_generation_cannot_go_on() -> None:
    lockstep = acting(spacing=4)
    lockstep.lost(waited=False)  # nobody has stepped yet: it may come back
    assert not lockstep.broken
    lockstep.ticked()
    lockstep.lost(waited=False)
    assert lockstep.broken
    assert not lockstep.may_step(4, 1, 1)
    lockstep.flipped(6, 1)
    assert lockstep.may_step(4, 1, 1)


def test_a_step_that_waits_for_nobody_any_more_breaks_it_too() -> None:
    lockstep = acting()
    lockstep.lost(waited=True)
    assert lockstep.broken
