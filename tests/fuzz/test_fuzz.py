"""The short form: some thousands of inputs to every line of real processes. `make fuzz` sends a million."""

from __future__ import annotations

import pytest

from tests.fuzz.giants import giants
from tests.fuzz.lines import lines
from tests.fuzz.rounds import Rounds
from tests.fuzz.stage import stage

SEED = 1


def test_bad_input_disturbs_nobody() -> None:
    with stage() as here:
        rounds = Rounds(here, lines(here), SEED, examples=8)
        rounds.play()
        giants(here, parts=20_000, strangers=20)
        rounds.play()
        print(rounds.summary(0.0))
    assert rounds.inputs >= 2_000


@pytest.mark.long
@pytest.mark.timeout(600)
def test_giants_disturb_nobody() -> None:
    with stage() as here:
        giants(here)
        here.check()
