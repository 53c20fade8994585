"""Seats: who has which run-wide number."""

from __future__ import annotations

import numpy as np
import pytest

from inference_server.slots import Slots


@pytest.mark.parametrize(
    ("taken", "count", "expected"),
    [
        ([], 3, 0),
        ([(0, 4)], 3, 4),
        ([(4, 2)], 3, 0),
        ([(4, 2)], 4, 0),
        ([(4, 2)], 5, 6),
        ([(0, 2), (4, 2)], 2, 2),
        ([(0, 2), (4, 2)], 3, 6),
        ([(0, 2), (1, 2)], 1, 3),  # two that share a number, since somebody numbered them so
    ],
)
def test_the_lowest_free_numbers(taken: list[tuple[int, int]], count: int, expected: int) -> None:
    slots = Slots(16, {})
    for first, environments in taken:
        slots.take(environments, first)
    assert slots.free_numbers(count) == expected


def test_numbers_of_those_who_left_are_free_again() -> None:
    slots = Slots(8, {})
    first, second = slots.take(2, 0), slots.take(2, 2)
    slots.release(first)
    assert slots.free_numbers(2) == 0
    assert slots.environment[second].tolist() == [2, 3]
    assert np.intersect1d(slots.take(3, slots.free_numbers(3)), second).size == 0
    assert slots.free_numbers(1) == 0
