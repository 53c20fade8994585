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


def test_each_environment_explores_as_its_number_says() -> None:
    def exploration(environment: np.ndarray) -> np.ndarray:
        return np.stack([environment / 8, -environment], -1).astype(np.float32)

    slots = Slots(8, {}, exploration=exploration)
    slots.take(3, 0)
    taken = slots.take(2, 5)
    assert slots.explore[taken].tolist() == [[0.625, -5], [0.75, -6]]
    slots.release(taken)
    # Whoever comes to sit there next explores by a number of its own.
    again = slots.take(2, 3)
    assert set(again) == set(taken)
    assert slots.explore[again].tolist() == [[0.375, -3], [0.5, -4]]


def test_an_agent_need_not_explore() -> None:
    slots = Slots(4, {})
    assert slots.explore[slots.take(2, 0)].shape == (2, 0)


def test_where_all_begins_anew_other_noise_is_drawn_the_same_each_time() -> None:
    keys = []
    for versions in ((), (100,), (200,), (100, 200), (100,)):
        slots = Slots(4, {}, seed=3)
        for version in versions:
            slots.begin_anew(version)
        keys.append(tuple(slots.noise_key[slots.take(4, 0)].tolist()))
    start, hundred, two_hundred, both, again = keys
    assert len({start, hundred, two_hundred}) == 3
    assert (both, again) == (two_hundred, hundred)
