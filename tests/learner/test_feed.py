"""What is trained on next, from a source that the test fills."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from corral.agents import AgentSpec
from corral.protocol import StepType, TensorSpec, Unroll
from corral.protocol.unrolls import TIME_SPEC, Leaves, cut_columns, side_by_side, to_unroll
from learner.feed import WAIT_S, FreshFeed, ReplayFeed
from learner.settings import LearnerSettings, ReplaySettings

SPEC = AgentSpec(
    observation={"observation": TensorSpec((), "float32")},
    action=None,
    outputs={"out": TensorSpec((), "float32")},
    unroll_length=4,
    sample_length=2,
    overlap=2,
    replay=True,
)
"""Each unroll brings 3 steps, and a sequence begins at each of them."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(0)


def unrolls(count: int, first: int = 0, length: int = 4) -> Leaves:
    """Index `i` of unroll `n` is the number `10 n + i` everywhere."""
    number = 10 * np.arange(first, first + count) + np.arange(length + 1)[:, None]
    leaves = {name: number.astype(leaf.dtype) for name, leaf in TIME_SPEC.items()}
    leaves["step_type"] = np.full(number.shape, StepType.MID, np.uint8)
    return leaves | {f"{name}": number.astype(np.float32) for name in ("observation/observation", "output/out")}


class Source:
    """Unrolls that have come, as `UnrollSource` gives them; and what it was asked for."""

    def __init__(self, come: int = 0, endless: bool = False) -> None:
        self._endless = endless
        self._waiting: list[Leaves] = []
        self.taken = 0
        self.asked: list[int] = []
        self.waited: list[float] = []
        self.come(come)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def come(self, count: int) -> None:
        first = self.taken + self.waiting
        self._waiting += [unrolls(1, number) for number in range(first, first + count)]

    def take(self, most: int, timeout_s: float) -> Leaves | None:
        assert most >= 1
        self.asked.append(most)
        self.waited.append(timeout_s)
        if self._endless:
            self.come(most)
        given, self._waiting = self._waiting[:most], self._waiting[most:]
        self.taken += len(given)
        return side_by_side(given) if given else None

    def next(self, unrolls: int, timeout_s: float) -> Unroll | None:
        self.waited.append(timeout_s)
        if self.waiting < unrolls:
            return None
        given, self._waiting = self._waiting[:unrolls], self._waiting[unrolls:]
        return to_unroll(side_by_side(given))


def feed_of(source: Source, batch: int, *, spec: AgentSpec = SPEC, **replay: Any) -> ReplayFeed:
    settings = {"capacity": 3_000, "min_size": 3, "samples_per_insert": 2.0, "slack": 1, **replay}
    return ReplayFeed(
        LearnerSettings(batch_unrolls=batch, replay=ReplaySettings(**settings)),
        spec,
        source,  # type: ignore[arg-type]
    )


def batches(feed: ReplayFeed, most: int = 1_000) -> int:
    """How many batches there are until it asks to wait."""
    for count in range(most):
        sample = feed.next()
        if sample is None:
            return count
        feed.learned(sample, None)
    return most


def test_fresh_unrolls_are_handed_on_once_each_and_count_alike() -> None:
    source = Source(5)
    feed = FreshFeed(source, 2)  # type: ignore[arg-type]
    for first in (0, 20):
        sample = feed.next()
        assert sample is not None
        assert sample.unroll.reward[0].tolist() == [first, first + 10]
        assert sample.weights.tolist() == [1, 1]
        assert sample.weights.dtype == np.float32
        feed.learned(sample, np.ones(2))
    assert feed.next() is None
    assert source.waited == [WAIT_S] * 3
    assert feed.figures() == feed.state([]) == {}
    feed.restore({})


def test_nothing_is_drawn_until_there_is_enough() -> None:
    source = Source()
    feed = feed_of(source, 4, min_size=12)
    for come in range(3):
        assert feed.next() is None
        source.come(1)
        assert feed.next() is None
        assert feed.figures()["replay_steps"] == 3 * (come + 1)
    source.come(1)
    sample = feed.next()
    assert sample is not None
    assert sample.unroll.reward.shape == (3, 4)
    # While it fills, it takes what fills it and no more, and waits for that.
    assert source.asked == [4, 4, 3, 3, 2, 2, 1]
    assert source.waited == [WAIT_S] * 7


def test_what_filled_the_replay_owes_nothing_but_its_last_unrolls() -> None:
    source = Source()
    feed = feed_of(source, 2, min_size=12)
    for _ in range(4):
        source.come(1)
        batch = feed.next()
    assert batch is not None
    # The last 3 sequences are to be drawn twice each: 6 of these are 3 batches, and one is out.
    assert batches(feed) == 2
    assert feed.figures()["samples_per_insert"] == 2.0


@pytest.mark.parametrize(("ratio", "expected"), [(2.0, 3), (8.0, 12), (0.5, 0), (1.0, 1)])
def test_each_sequence_is_drawn_so_often_on_average_and_no_more(ratio: float, expected: int) -> None:
    source = Source(1)
    feed = feed_of(source, 2, samples_per_insert=ratio)
    assert batches(feed) == expected  # of 3 sequences, in twos
    source.come(1)
    total = expected + batches(feed)
    assert total == int(ratio * 6 // 2)
    assert feed.figures()["samples_per_insert"] == 2 * total / 6


def test_nothing_is_taken_in_that_could_not_be_drawn_so_often_soon() -> None:
    source = Source(endless=True)
    feed = feed_of(source, 4, slack=10)
    taken = []
    for _ in range(8):
        before = source.taken
        assert feed.next() is not None
        taken.append(source.taken - before)
    # In samples, an unroll is worth 6, a batch 4, and the slack 20. What is owed after taking in and after drawing:
    # 6, 2; 20, 16; 22, 18; 24, 20; 20, 16; 22, 18; 24, 20; 20, 16.
    assert taken == [1, 3, 1, 1, 0, 1, 1, 0]
    # The first unroll filled the replay, and left too little for a second batch; with enough to train on, nothing
    # waits.
    assert source.waited == [WAIT_S] * 2 + [0.0] * 4


def test_what_is_drawn_follows_what_comes_for_ever() -> None:
    source = Source(endless=True)
    feed = feed_of(source, 5, samples_per_insert=3.0, slack=7)
    for _ in range(500):
        assert feed.next() is not None
    # 2500 drawn; in all, 21 to 21 + 9 samples may be owed yet, of 9 to an unroll.
    assert (2_500 + 21 - 5) / 9 <= source.taken <= (2_500 + 21 + 9) / 9
    assert abs(feed.figures()["samples_per_insert"] - 3.0) < 0.05


def test_a_batch_larger_than_the_slack_is_waited_for_all_the_same() -> None:
    source = Source(endless=True)
    feed = feed_of(source, 64, slack=1)
    assert feed.next() is None  # one unroll is 6 samples
    assert batches(feed, most=50) == 50
    assert source.taken <= (51 * 64) / 6 + 1


def test_a_learner_that_starves_waits_for_unrolls() -> None:
    source = Source(1)
    feed = feed_of(source, 4)
    assert batches(feed) == 1
    assert source.waited == [WAIT_S, WAIT_S]
    assert feed.next() is None
    source.come(1)
    assert feed.next() is not None  # of 2 + 6 samples
    assert feed.next() is not None  # of the other 4, which are all the slack there is: nothing is asked for
    assert feed.next() is None
    assert source.waited == [WAIT_S] * 5


def test_no_more_is_taken_at_once_than_the_replay_holds() -> None:
    source = Source(endless=True)
    feed = feed_of(source, 64, capacity=6, min_size=6, slack=1_000)
    for _ in range(20):
        feed.next()
    assert max(source.asked) == 2
    assert feed.figures()["replay_steps"] == 6


def test_priorities_reach_the_replay() -> None:
    feed = feed_of(Source(1), 3, alpha=1.0, samples_per_insert=100.0)
    sample = feed.next()
    assert sample is not None
    number = sample.unroll.reward[0]
    assert sorted(number) == [0, 1, 2]
    feed.learned(sample, np.where(number == 1, 1e6, 0.0))
    sample = feed.next()
    assert sample is not None
    assert Counter(sample.unroll.reward[0].tolist()) == {1: 3}


def test_figures_say_what_there_is() -> None:
    feed = feed_of(Source(), 4, capacity=30)
    figures = feed.figures()
    # 10 unrolls of 5 indices of 2 + 2 float32, a uint8 and an int64; a tree over 30 sequences, 2 * 32 float64.
    assert figures == {
        "replay_steps": 0,
        "replay_bytes": 10 * 5 * (4 * 4 + 1 + 8) + 2 * 32 * 8,
        "samples_per_insert": 0.0,
    }
    assert [type(value) for value in figures.values()] == [int, int, float]


def test_of_unrolls_in_which_nothing_begins_nothing_is_drawn() -> None:
    spec = AgentSpec(SPEC.observation, None, SPEC.outputs, unroll_length=1, replay=True)
    source = Source()
    feed = feed_of(source, 1, spec=spec, min_size=1)
    end = cut_columns(unrolls(1, length=1), 0, 1)
    end["step_type"][0] = StepType.LAST
    source._waiting = [end]
    assert feed.next() is None
    source._waiting = [unrolls(1, length=1)]
    assert feed.next() is not None


def test_it_goes_on_from_its_state() -> None:
    source = Source(2)
    first = feed_of(source, 2, min_size=6, checkpoint=True)
    assert first.next() is not None
    state = {name: leaf.copy() for name, leaf in first.state([]).items()}
    second = feed_of(Source(), 2, min_size=6)
    second.restore(state)
    assert second.figures() == first.figures()
    # 6 sequences, each to be drawn twice, are 6 batches; one has been.
    assert (batches(first), batches(second)) == (5, 5)


def test_another_replays_state_is_refused() -> None:
    first, second = feed_of(Source(2), 2, checkpoint=True), feed_of(Source(), 2, capacity=3)
    assert batches(first) > 0
    with pytest.raises(ValueError, match="the replay was of another size"):
        second.restore(first.state([]))


def test_unrolls_of_too_old_a_policy_are_dropped_and_counted() -> None:
    # Unroll n was acted by versions 10 n to 10 n + 3; what stands at its last index belongs to the next.
    source = Source(6)
    feed = FreshFeed(source, 2, max_lag=25, version=lambda: 45)  # type: ignore[arg-type]
    got = [sample for _ in range(6) if (sample := feed.next()) is not None]
    assert [sample.unroll.version[0].tolist() for sample in got] == [[20, 30], [40, 50]]
    assert feed.figures() == {"unrolls_too_old": 2}


def test_an_index_at_which_nobody_acted_has_no_age() -> None:
    leaves = unrolls(1, 3)
    leaves["version"][1], leaves["step_type"][1] = 0, StepType.LAST
    source = Source()
    source._waiting = [leaves]
    feed = FreshFeed(source, 1, max_lag=5, version=lambda: 33)  # type: ignore[arg-type]
    assert feed.next() is not None
    assert feed.too_old == 0
