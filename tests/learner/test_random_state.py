"""The generators that everything in a process shares go on where they stood."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from learner.random_state import random_state, restore_random_state


def draw() -> list[float]:
    return [random.random(), random.gauss(), float(np.random.random()), float(np.random.standard_normal())]


def test_the_same_numbers_come_again() -> None:
    random.seed(5)
    np.random.seed(6)
    draw()  # an odd number of normal ones: each generator keeps half a pair back
    state = json.loads(json.dumps(random_state()))
    expected = [draw() for _ in range(3)]
    random.seed(0)
    np.random.seed(0)
    restore_random_state(state)
    assert [draw() for _ in range(3)] == expected


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        restore_random_state({"python": [3, [1, 2], None], "numpy": ["MT19937", [1], 0, 0, 0.0]})
