"""Pauses of whoever is told BUSY."""

from __future__ import annotations

import random

from actor_client.backoff import FIRST_S, LONGEST_S, Backoff


def test_pauses_grow_twofold_up_to_the_longest() -> None:
    backoff = Backoff(random.Random(1))
    most_s = FIRST_S
    for _ in range(20):
        assert most_s / 2 <= backoff.next_s() <= most_s
        most_s = min(2 * most_s, LONGEST_S)
    assert most_s == LONGEST_S


def test_no_two_wait_alike() -> None:
    assert len({Backoff().next_s() for _ in range(20)}) == 20
