"""Sums over halves, by hand, and against a plain cumulative sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.sum_tree import SumTree


def tree_of(*numbers: float) -> SumTree:
    tree = SumTree(len(numbers))
    tree.set(np.arange(len(numbers)), np.array(numbers))
    return tree


def test_all_numbers_are_zero_at_first() -> None:
    tree = SumTree(3)
    assert tree.total == 0
    assert tree[np.arange(3)].tolist() == [0, 0, 0]


def test_a_mass_lies_in_the_number_whose_share_holds_it() -> None:
    # Shares: 0 has [0, 1), 1 has [1, 3), 2 nothing, 3 has [3, 3.5), 4 has [3.5, 7.5).
    tree = tree_of(1, 2, 0, 0.5, 4)
    assert tree.total == 7.5
    mass = np.array([0.0, 0.9, 1.0, 2.9, 3.0, 3.4, 3.5, 7.4])
    assert tree.find(mass).tolist() == [0, 0, 1, 1, 3, 3, 4, 4]


def test_numbers_change_one_by_one_and_many_at_once() -> None:
    tree = tree_of(1, 1, 1, 1, 1)
    tree.set(np.array([3]), 5.0)
    assert tree.total == 9
    tree.set(np.array([0, 4, 1]), np.array([2.0, 0.0, 3.0]))
    assert tree[np.arange(5)].tolist() == [2, 3, 1, 5, 0]
    assert tree.total == 11
    assert tree.find(np.array([1.9, 2.0, 5.5, 6.0, 10.9])).tolist() == [0, 1, 2, 3, 3]


def test_the_last_counts_where_one_is_named_twice() -> None:
    tree = tree_of(1, 1)
    tree.set(np.array([1, 1, 1]), np.array([9.0, 8.0, 7.0]))
    assert tree[np.array([1])] == 7
    assert tree.total == 8


def test_nothing_may_be_set() -> None:
    tree = tree_of(1, 2)
    tree.set(np.zeros(0, np.int64), np.zeros(0))
    assert tree.total == 3
    assert tree.find(np.zeros(0)).tolist() == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9])
def test_any_size_holds_its_numbers(size: int) -> None:
    numbers = np.arange(1.0, size + 1)
    tree = tree_of(*numbers)
    assert tree.size == size
    assert tree.total == numbers.sum()
    # The middle of each one's share.
    assert tree.find(np.cumsum(numbers) - numbers / 2).tolist() == list(range(size))


def test_a_mass_that_rounding_put_too_high_finds_nothing_empty() -> None:
    tree = tree_of(0, 0.1, 0, 0.2, 0, 0, 0)
    # As much as there is, and more than the left half holds, where nothing lies to the right of it.
    assert tree.find(np.array([tree.total, 1.0])).tolist() == [3, 3]
    assert tree.find(np.array([0.0])).tolist() == [1]


def test_memory_is_that_of_all_sums() -> None:
    assert SumTree(5).nbytes == 2 * 8 * 8  # 8 leaves, and as many places above them, in float64


numbers = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@given(st.data(), st.integers(1, 40))
def test_it_finds_what_a_cumulative_sum_finds(data: st.DataObject, size: int) -> None:
    tree, plain = SumTree(size), np.zeros(size)
    for _ in range(data.draw(st.integers(1, 4))):
        changes = data.draw(st.lists(st.tuples(st.integers(0, size - 1), numbers), min_size=1, max_size=12))
        tree.set(np.array([index for index, _ in changes]), np.array([value for _, value in changes]))
        for index, value in changes:
            plain[index] = value
    assert tree[np.arange(size)].tolist() == plain.tolist()
    np.testing.assert_allclose(tree.total, plain.sum(), rtol=1e-12)
    if not plain.any():
        return
    shares = np.array(data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20)))
    found = tree.find(shares * tree.total)
    assert (plain[found] > 0).all()
    # Each mass lies in the share of what was found, but for what sums in another order differ by.
    after, rounding = np.cumsum(plain), 1e-9 * plain.sum()
    assert (shares * tree.total <= after[found] + rounding).all()
    assert (shares * tree.total >= after[found] - plain[found] - rounding).all()
