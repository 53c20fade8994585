"""A server's line, parcel by parcel; the figures are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from corral.protocol import UnrollManifest
from corral.protocol.limits import MAX_COUNT
from learner.server_line import Account, ServerLine


def manifest(unrolls: int = 1, held: int = 0, held_before: int = 0) -> UnrollManifest:
    return UnrollManifest(unrolls, 0, [], held, held_before)


def line(cursor: int = 0, held: int = 0, *, known: bool = True) -> ServerLine:
    return ServerLine(b"somewhere", Account(cursor, held), known=known)


def test_parcels_are_accepted_in_order_whatever_the_order_in_which_they_come() -> None:
    waiting = line()
    leaves = {number: {"reward": np.full(1, number)} for number in (1, 2, 3)}
    assert not waiting.delivered
    waiting.put(3, manifest(unrolls=5), leaves[3])
    waiting.put(2, manifest(unrolls=2), leaves[2])
    assert waiting.delivered
    assert not waiting.has_next
    assert waiting.is_next(1)
    assert waiting.unrolls == 7
    waiting.put(1, manifest(unrolls=1), leaves[1])
    accepted = []
    while waiting.has_next:
        accepted.append(waiting.accept())
    assert [each.leaves["reward"][0] for each in accepted] == [1, 2, 3]
    assert [each.manifest.unrolls for each in accepted] == [1, 2, 5]
    assert waiting.account.cursor == 3
    assert waiting.unrolls == 0


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        (11, True),  # the next one
        (12, False),  # waits already
        (13, True),
        (14, True),  # the last of the window
        (15, False),
    ],
)
def test_what_fits_is_new_and_within_the_window(number: int, fits: bool) -> None:
    waiting = line(10)
    waiting.put(12, manifest(), {})
    assert waiting.fits(number, window=4) is fits


def test_a_full_window_takes_nothing_but_the_parcel_that_opens_it() -> None:
    waiting = line()
    waiting.put(2, manifest(unrolls=4), {})
    assert not waiting.fits(3, window=4)
    assert waiting.fits(1, window=4)


def test_steps_between_the_last_known_parcel_and_the_next_are_lost() -> None:
    waiting = line(1, held=3)
    waiting.put(2, manifest(held=2, held_before=8), {})  # parcels that held 5 went to another
    waiting.put(3, manifest(held=4, held_before=10), {})
    assert waiting.accept().lost == 5
    assert waiting.account == Account(2, held=10, lost=5)
    assert waiting.account.accepted == 5
    assert waiting.accept().lost == 0
    assert waiting.account == Account(3, held=14, lost=5)


def test_of_a_server_that_nothing_is_known_of_the_first_gap_is_no_loss_to_tell() -> None:
    waiting = line(known=False)
    waiting.put(1, manifest(held=2, held_before=8), {})
    assert waiting.accept().lost == 0
    assert waiting.account == Account(1, held=10, lost=8)
    waiting.put(2, manifest(held=2, held_before=11), {})
    assert waiting.accept().lost == 1


def test_counts_stay_where_a_message_can_hold_them() -> None:
    waiting = line()
    waiting.put(1, manifest(held=MAX_COUNT, held_before=MAX_COUNT), {})
    assert waiting.accept().lost == MAX_COUNT
    assert waiting.account == Account(1, held=MAX_COUNT, lost=MAX_COUNT)
