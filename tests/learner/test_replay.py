"""The replay, with unrolls whose every element says which one it is and where."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from corral.protocol import StepType, TensorSpec
from corral.protocol.unrolls import TIME_SPEC, Leaves, unroll_spec
from learner.replay import Replay, Sample
from learner.settings import ReplaySettings

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
PARTS = unroll_spec(
    {"observation": TensorSpec((2,), "float32")},
    {"action": TensorSpec((), "int64")},
    {"h": TensorSpec((3,), "float32")},
)
LENGTH = 4
"""Transitions of an unroll, unless a test says otherwise."""


def replay_of(
    unrolls: int,
    sample: int,
    length: int = LENGTH,
    overlap: int = 1,
    parts: Any = PARTS,
    context: int = 0,
    **settings: Any,
) -> Replay:
    """A replay with room for that many unrolls."""
    steps = unrolls * (length + 1 - overlap)
    return Replay(ReplaySettings(capacity=steps, min_size=1, **settings), parts, length, sample, overlap, context)


def unrolls(*numbers: int, length: int = LENGTH, last: tuple[int, ...] = ()) -> Leaves:
    """Unrolls side by side: index `i` of unroll `n` is the number `10 n + i` everywhere; `last` are ends."""
    number = 10 * np.array(numbers) + np.arange(length + 1)[:, None]
    leaves = {
        "observation/observation": np.stack([number, -number], -1).astype(np.float32),
        "output/action": number.astype(np.int64),
    }
    leaves |= {name: number.astype(leaf.dtype) for name, leaf in TIME_SPEC.items()}
    leaves["step_type"] = np.full(number.shape, MID, np.uint8)
    leaves["step_type"][list(last)] = LAST
    leaves["state/h"] = np.tile(np.array(numbers, np.float32)[:, None], 3)
    return leaves


def begins(sample: Sample) -> list[int]:
    """The number of each sequence's first index; checks that all else of it is where it belongs."""
    number, unroll = sample.unroll.output["action"], sample.unroll
    np.testing.assert_array_equal(number, number[0] + np.arange(len(number))[:, None])
    np.testing.assert_array_equal(unroll.observation["observation"], np.stack([number, -number], -1))
    np.testing.assert_array_equal(unroll.reward, number)
    np.testing.assert_array_equal(unroll.discount, number)
    np.testing.assert_array_equal(unroll.version, number)
    np.testing.assert_array_equal(unroll.state["h"], np.tile((number[0] // 10)[:, None], 3))
    return number[0].tolist()


def drawn(replay: Replay, times: int = 50, size: int = 8, seed: int = 0) -> Counter[int]:
    random = np.random.RandomState(seed)
    return Counter(number for _ in range(times) for number in begins(replay.sample(size, random)))


# What may be drawn.


def test_a_sequence_begins_at_every_transition_that_leaves_it_room() -> None:
    replay = replay_of(3, sample=2)
    replay.add(unrolls(1, 2))
    assert set(drawn(replay)) == {10, 11, 12, 20, 21, 22}
    assert (replay.steps, replay.sequences, replay.inserted) == (8, 6, 6)
    assert replay.sample(5, np.random.RandomState(0)).unroll.reward.shape == (3, 5)


def test_none_begins_behind_the_end_of_an_episode() -> None:
    replay = replay_of(2, sample=2)
    replay.add(unrolls(1, last=(1,)))
    replay.add(unrolls(2, last=(4,)))
    # The transition 11 -> 12 joins two episodes. A LAST that a sequence only comes to is part of it.
    assert set(drawn(replay)) == {10, 12, 20, 21, 22}
    assert (replay.steps, replay.sequences, replay.inserted) == (8, 5, 5)


def test_what_only_comes_before_a_sequence_may_hold_an_end() -> None:
    replay = replay_of(2, sample=3, context=2)
    replay.add(unrolls(1, last=(0, 1)))  # of 12 -> 13 and 13 -> 14 neither joins two episodes
    replay.add(unrolls(2, last=(3,)))  # 23 -> 24 does
    assert set(drawn(replay)) == {10, 11, 20}
    assert replay.sequences == 3


def test_a_single_transition_behind_what_comes_before_it_has_no_end_in_front() -> None:
    replay = replay_of(2, sample=LENGTH, context=3)
    replay.add(unrolls(1, last=(3,)))
    replay.add(unrolls(2, last=(2,)))
    assert set(drawn(replay)) == {20}


def test_single_transitions_have_no_end_in_front_either() -> None:
    replay = replay_of(4, sample=1, length=1)
    replay.add(unrolls(1, 2, length=1))
    replay.add(unrolls(3, length=1, last=(0,)))
    assert set(drawn(replay)) == {10, 20}
    assert (replay.steps, replay.sequences) == (3, 2)


def test_of_an_end_alone_nothing_is_drawn() -> None:
    replay = replay_of(4, sample=1, length=1)
    replay.add(unrolls(3, length=1, last=(0,)))
    assert replay.sequences == 0


def test_whole_unrolls_are_drawn_with_the_state_that_they_began_in() -> None:
    replay = replay_of(3, sample=LENGTH)
    replay.add(unrolls(1, 2))
    replay.add(unrolls(3, last=(0,)))  # there is more to it than its first transition
    assert set(drawn(replay)) == {10, 20, 30}
    assert replay.sequences == 3


def test_the_oldest_unrolls_make_room() -> None:
    replay = replay_of(3, sample=2)
    replay.add(unrolls(1, 2, last=(0,)))
    assert replay.sequences == 4
    replay.add(unrolls(3, 4))  # 4 in the place of 1
    assert set(drawn(replay)) == {21, 22, 30, 31, 32, 40, 41, 42}
    assert (replay.steps, replay.sequences, replay.inserted) == (12, 8, 10)
    replay.add(unrolls(5, 6, 7, last=(1,)))
    assert set(drawn(replay)) == {50, 52, 60, 62, 70, 72}
    assert (replay.steps, replay.sequences, replay.inserted) == (12, 6, 16)


def test_steps_that_two_unrolls_share_count_once() -> None:
    # Unrolls of 4 transitions that share 3 indices, 2 transitions, bring 2 new ones each: 5 of them hold 10 steps.
    replay = Replay(ReplaySettings(capacity=10, min_size=1), PARTS, LENGTH, 3, overlap=3)
    assert replay.capacity == 5
    replay.add(unrolls(1, 2))
    assert (replay.steps, replay.sequences) == (4, 4)
    replay.add(unrolls(3, 4, 5, 6))
    assert replay.steps == 10
    assert set(drawn(replay)) == {20, 21, 30, 31, 40, 41, 50, 51, 60, 61}


@pytest.mark.parametrize(("steps", "fit"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_room_is_for_at_least_as_many_steps_as_are_asked_for(steps: int, fit: int) -> None:
    replay = Replay(ReplaySettings(capacity=steps, min_size=1), PARTS, LENGTH, 2)
    assert replay.capacity == fit
    assert replay.starts == 3


def test_more_at_once_than_it_holds_is_refused() -> None:
    replay = replay_of(2, sample=2)
    with pytest.raises(ValueError, match="3 unrolls at once do not fit a replay of 2"):
        replay.add(unrolls(1, 2, 3))
    replay.add(unrolls(4, 5))
    assert set(drawn(replay)) == {40, 41, 42, 50, 51, 52}


@pytest.mark.parametrize("sample", [0, 5])
def test_sequences_that_no_unroll_holds_are_refused(sample: int) -> None:
    with pytest.raises(ValueError, match=f"unrolls of 4 transitions hold no sequences of {sample}"):
        replay_of(2, sample=sample)


def test_samples_are_copies() -> None:
    replay = replay_of(1, sample=LENGTH)
    replay.add(unrolls(1))
    sample = replay.sample(1, np.random.RandomState(0))
    replay.add(unrolls(2))
    assert begins(sample) == [10]


# How often.


def test_without_priorities_all_are_drawn_alike() -> None:
    replay = replay_of(2, sample=2)
    replay.add(unrolls(1, 2))
    counts = drawn(replay, times=1_000, size=6)
    # A batch of 6 draws once from each sixth of all priority, which is one sequence each.
    assert counts == dict.fromkeys([10, 11, 12, 20, 21, 22], 1_000)
    counts = drawn(replay, times=3_000, size=1)
    # 500 each, with a deviation of sqrt(3000 / 6 * 5 / 6) = 20.
    assert all(abs(count - 500) < 100 for count in counts.values())
    weights = replay.sample(64, np.random.RandomState(1)).weights
    assert weights.dtype == np.float32
    assert (weights == 1).all()
    assert replay.sampled == 6_000 + 3_000 + 64


def keys_of(replay: Replay, size: int = 32) -> dict[int, int]:
    """The key of each sequence, by its number."""
    sample = replay.sample(size, np.random.RandomState(0))
    return dict(zip(begins(sample), sample.keys.tolist(), strict=True))


def prioritised(alpha: float, beta: float = 0.4, **priorities: float) -> Replay:
    """One unroll of three sequences, 10, 11 and 12, of these priorities."""
    replay = replay_of(1, sample=2, alpha=alpha, beta=beta)
    replay.add(unrolls(1))
    keys = keys_of(replay)
    for name, value in priorities.items():
        replay.update(np.array([keys[int(name.removeprefix("at_"))]]), np.array([value], np.float32))
    return replay


def test_what_surprises_is_drawn_more_often() -> None:
    replay = prioritised(1.0, at_10=1.0, at_11=3.0, at_12=6.0)
    counts = drawn(replay, times=1_000, size=10)
    # 1, 3 and 6 of each 10; the shares' ends lie on the ends of the tenths, but for the least priority.
    for number, share in ((10, 1_000), (11, 3_000), (12, 6_000)):
        assert abs(counts[number] - share) <= 10


def test_alpha_bends_the_priorities() -> None:
    replay = prioritised(0.5, at_10=1.0, at_11=4.0, at_12=25.0)
    counts = drawn(replay, times=1_000, size=8)
    # Square roots: 1, 2 and 5 of each 8.
    for number, share in ((10, 1_000), (11, 2_000), (12, 5_000)):
        assert abs(counts[number] - share) <= 10


def test_the_weights_make_up_for_it() -> None:
    replay = prioritised(1.0, beta=0.5, at_10=1.0, at_11=3.0, at_12=6.0)
    sample = replay.sample(10, np.random.RandomState(0))
    # (N P)^-beta with N = 3: (0.3)^-0.5, (0.9)^-0.5, (1.8)^-0.5; over the largest, the first of these.
    expected = {10: 1.0, 11: (0.9 / 0.3) ** -0.5, 12: (1.8 / 0.3) ** -0.5}
    assert set(begins(sample)) == set(expected)
    np.testing.assert_allclose(sample.weights, [expected[number] for number in begins(sample)], rtol=1e-4)


@pytest.mark.parametrize(("beta", "expected"), [(0.0, 1.0), (1.0, 1 / 6)])
def test_beta_bends_the_weights(beta: float, expected: float) -> None:
    sample = prioritised(1.0, beta=beta, at_10=1.0, at_11=3.0, at_12=6.0).sample(10, np.random.RandomState(0))
    assert sample.weights[begins(sample).index(10)] == 1
    np.testing.assert_allclose(sample.weights[begins(sample).index(12)], expected, rtol=1e-4)


def test_ends_do_not_count_among_those_that_are_drawn() -> None:
    replay = replay_of(2, sample=2, alpha=1.0, beta=1.0)
    replay.add(unrolls(1, 2, last=(1,)))
    keys = keys_of(replay)
    replay.update(np.array([keys[10]]), np.array([5.0]))
    # The shares are 5, 1, 1 and 1 of 8, and N is 4, not 6.
    sample = replay.sample(8, np.random.RandomState(0))
    assert Counter(begins(sample)) == {10: 5, 12: 1, 20: 1, 22: 1}
    np.testing.assert_allclose(sample.weights[0], (4 * 5 / 8) ** -1 / (4 * 1 / 8) ** -1, rtol=1e-4)


def test_new_sequences_are_as_urgent_as_the_most_urgent_so_far() -> None:
    replay = replay_of(2, sample=2, alpha=0.5)
    replay.add(unrolls(1))
    keys = keys_of(replay)
    replay.update(np.array([keys[10], keys[11]]), np.array([9.0, 1.0]))
    replay.update(np.array([keys[10]]), np.array([4.0]))  # less now, but it has been more
    replay.add(unrolls(2))
    # sqrt: 2, 1 and 1 of the old ones, 3 each of the new ones, of 13.
    counts = drawn(replay, times=100, size=13)
    for number, share in {10: 200, 11: 100, 12: 100, 20: 300, 21: 300, 22: 300}.items():
        assert abs(counts[number] - share) <= 5


def test_what_nothing_is_left_to_be_learned_from_is_still_drawn_once_in_a_while() -> None:
    replay = prioritised(1.0, at_10=0.0, at_11=-7.0, at_12=1e-6)
    # 1e-6, 1e-6 and 2e-6 of 4e-6.
    assert Counter(begins(replay.sample(4, np.random.RandomState(0)))) == {10: 1, 11: 1, 12: 2}


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_priorities_that_are_no_numbers_change_nothing(number: float) -> None:
    replay = prioritised(1.0, at_10=2.0, at_11=2.0, at_12=4.0)
    keys = keys_of(replay)
    replay.update(np.array([keys[10], keys[11]]), np.array([number, 4.0], np.float32))
    assert Counter(begins(replay.sample(10, np.random.RandomState(0)))) == {10: 2, 11: 4, 12: 4}
    replay.add(unrolls(2))  # as urgent as the most urgent, 4: all alike
    assert Counter(begins(replay.sample(3, np.random.RandomState(0)))) == {20: 1, 21: 1, 22: 1}


def test_priorities_of_what_is_gone_do_not_fall_to_what_came_in_its_place() -> None:
    replay = replay_of(2, sample=2, alpha=1.0)
    replay.add(unrolls(1, 2))
    keys = keys_of(replay)
    replay.add(unrolls(3))  # in the place of 1
    replay.update(np.array([keys[10], keys[20]]), np.array([100.0, 2.0]))
    assert Counter(begins(replay.sample(7, np.random.RandomState(0)))) == {20: 2, 21: 1, 22: 1, 30: 1, 31: 1, 32: 1}
    assert keys_of(replay).keys() == {20, 21, 22, 30, 31, 32}
    assert len(set(keys.values()) | set(keys_of(replay).values())) == 9


def test_priorities_mean_nothing_where_all_are_drawn_alike() -> None:
    replay = prioritised(0.0, at_10=100.0)
    assert Counter(begins(replay.sample(3, np.random.RandomState(0)))) == {10: 1, 11: 1, 12: 1}


# What it takes, and what a checkpoint keeps.


def test_its_memory_is_counted_to_the_byte() -> None:
    replay = replay_of(3, sample=2)
    # An index: 2 float32, an int64, reward, discount, step type, version. A state: 3 float32. The tree over 3 * 3
    # sequences: 16 leaves, and as many places above them, in float64.
    assert replay.nbytes == 3 * (5 * (8 + 8 + 4 + 4 + 1 + 8) + 12) + 2 * 16 * 8


@pytest.mark.parametrize("filled", [0, 2, 5])
def test_it_goes_on_from_its_state(filled: int) -> None:
    first, second = (replay_of(3, sample=2, alpha=1.0) for _ in range(2))
    for number in range(1, filled + 1):
        first.add(unrolls(number, last=(number % 3,)))
    if filled:
        first.update(np.array(list(keys_of(first).values())[:1]), np.array([7.0]))
    state = {name: leaf.copy() for name, leaf in first.state().items()}
    assert all(isinstance(leaf, np.ndarray) for leaf in state.values())
    second.restore(state)
    for replay in (first, second):
        replay.add(unrolls(8))
    for name in ("steps", "sequences", "inserted", "sampled"):
        assert getattr(first, name) == getattr(second, name)
    one, other = (replay.sample(30, np.random.RandomState(0)) for replay in (first, second))
    assert begins(one) == begins(other)
    np.testing.assert_array_equal(one.keys, other.keys)
    np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(one.unroll.step_type, other.unroll.step_type)
    for replay in (first, second):
        replay.update(one.keys[:3], np.array([50.0, 60.0, 70.0]))
        replay.add(unrolls(9))
    assert drawn(first) == drawn(second)


def test_a_state_takes_no_more_room_than_what_has_been_filled() -> None:
    replay = replay_of(1_000, sample=2)
    replay.add(unrolls(1, 2))
    assert replay.state()["reward"].shape == (2, LENGTH + 1)


def test_priorities_are_forgotten_where_all_are_drawn_alike_from_now_on() -> None:
    replay = replay_of(1, sample=2)
    replay.restore(prioritised(1.0, at_10=100.0).state())
    assert Counter(begins(replay.sample(3, np.random.RandomState(0)))) == {10: 1, 11: 1, 12: 1}


OTHER = unroll_spec(
    {"observation": TensorSpec((3,), "float32")},
    {"action": TensorSpec((), "int64")},
    {"h": TensorSpec((3,), "float32")},
)
DOUBLE = unroll_spec(
    {"observation": TensorSpec((2,), "float64")},
    {"action": TensorSpec((), "int64")},
    {"h": TensorSpec((3,), "float32")},
)
BARE = unroll_spec({"observation": TensorSpec((2,), "float32")}, {"action": TensorSpec((), "int64")}, {})


@pytest.mark.parametrize(
    "other",
    [
        replay_of(2, sample=2),  # it holds fewer than there are
        replay_of(8, sample=2),  # it would not have dropped the oldest
        replay_of(3, sample=3),
        replay_of(3, sample=2, length=3),
        replay_of(3, sample=2, parts=OTHER),
        replay_of(3, sample=2, parts=DOUBLE),
        replay_of(3, sample=2, parts={**PARTS, "state": {"state/c": PARTS["state"]["state/h"]}}),
    ],
)
def test_another_replays_state_is_refused_and_changes_nothing(other: Replay) -> None:
    replay = replay_of(3, sample=2)
    replay.add(unrolls(1, 2, 3))
    replay.add(unrolls(4))
    before = {name: leaf.copy() for name, leaf in other.state().items()}
    with pytest.raises(ValueError, match="the replay was of"):
        other.restore(replay.state())
    after = other.state()
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        np.testing.assert_array_equal(after[name], leaf)


def test_a_state_of_unrolls_with_less_in_them_is_refused() -> None:
    bare = replay_of(3, sample=2, parts=BARE)
    with pytest.raises(ValueError, match="it had no state/h"):
        replay_of(3, sample=2).restore(bare.state())


def test_a_replay_with_more_room_takes_what_has_not_overflown() -> None:
    replay, larger = replay_of(3, sample=2), replay_of(8, sample=2)
    replay.add(unrolls(1, 2))
    larger.restore(replay.state())
    larger.add(unrolls(3, 4))
    assert set(drawn(larger)) == {10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42}
