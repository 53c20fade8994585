"""Observations that no model should see: found in a batch, blamed on the request that brought them."""

from __future__ import annotations

import numpy as np
import pytest

from corral.protocol import TensorSpec
from inference_server.batch import Batch, Request
from inference_server.screen import Screen

SPEC = {
    "speed": TensorSpec((2,), "float32"),
    "picture": TensorSpec((2, 2), "uint8"),
    "fine": TensorSpec((), "float64"),
    "lamp": TensorSpec((), "bool"),
}


def filled(*shares: tuple[int, int]) -> Batch:
    """A batch with requests of so many rows, and final observations."""
    batch = Batch(8, SPEC)
    for rows, finals in shares:
        start = batch.rows
        batch.requests.append(Request(None, b"", 0, start, start + rows, 0.0, finals))
        batch.rows += rows
        batch.finals += finals
    return batch


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_blamed_on_its_request(value: float) -> None:
    screen, batch = Screen(SPEC, "refuse"), filled((2, 0), (1, 0), (3, 0))
    assert screen.is_clean(batch)
    batch.observation["speed"][4, 1] = value
    assert not screen.is_clean(batch)
    refusals = screen.refusals(batch)
    assert list(refusals) == [2]
    assert f"'speed' holds {value} in row 1 at [1]" in refusals[2].text
    assert "server.non_finite" in refusals[2].text


def test_final_observations_count() -> None:
    screen, batch = Screen(SPEC, "refuse"), filled((2, 1), (2, 0), (2, 2))
    batch.final["fine"][1] = np.nan
    refusals = screen.refusals(batch)
    assert list(refusals) == [2]
    assert "'final fine' holds nan in row 0:" in refusals[2].text


def test_what_lies_behind_the_rows_is_nobody_s() -> None:
    screen, batch = Screen(SPEC, "refuse"), filled((2, 0))
    batch.observation["speed"][2:] = np.nan
    batch.final["speed"][:] = np.nan
    assert screen.is_clean(batch)


def test_the_largest_numbers_are_numbers() -> None:
    screen, batch = Screen(SPEC, "refuse"), filled((2, 0))
    batch.observation["speed"][:] = np.finfo(np.float32).max
    assert screen.is_clean(batch)


def test_pass_lets_them_through_and_looks_at_nothing() -> None:
    screen, batch = Screen(SPEC, "pass"), filled((2, 0))
    batch.observation["speed"][:] = np.nan
    assert screen.names == ["lamp"]
    assert screen.is_clean(batch)
    assert Screen({"speed": SPEC["speed"]}, "pass").names == []


def test_a_byte_that_is_no_boolean() -> None:
    batch = filled((1, 0), (1, 0))
    batch.observation["lamp"].view(np.uint8)[:2] = (1, 2)
    for screen in (Screen(SPEC, "refuse"), Screen(SPEC, "pass")):
        assert not screen.is_clean(batch)
        assert "a byte of 'lamp' is neither 0 nor 1" in screen.refusals(batch)[1].text
