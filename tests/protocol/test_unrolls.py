from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.protocol import TIME_SPEC, StepType, TensorSpec
from corral.protocol.unrolls import Leaves, cut_columns, side_by_side, to_unroll, unroll_spec, unrolls_in

OBSERVATION = {"camera": TensorSpec((2, 2), "uint8"), "speed": TensorSpec((), "float32")}
OUTPUT = {"action": TensorSpec((), "int64"), "log_prob": TensorSpec((), "float32")}
STATE = {"h": TensorSpec((3,), "float32")}
PARTS = unroll_spec(OBSERVATION, OUTPUT, STATE)
TIMES = 4


def columns(numbers: range) -> Leaves:
    """Unrolls side by side; every number in column `c` of every leaf says `c`."""
    leaves = {}
    for part, leading in (("time", (TIMES, len(numbers))), ("state", (len(numbers),))):
        for name, leaf in PARTS[part].items():
            leaves[name] = leaf.zeros(*leading)
            place = np.moveaxis(leaves[name], len(leading) - 1, -1)
            place[...] = np.array(numbers, leaf.dtype)
    return leaves


def assert_same(left: Leaves, right: Leaves) -> None:
    assert list(left) == list(right)
    for name, leaf in left.items():
        np.testing.assert_array_equal(leaf, right[name])


def test_leaves_travel_in_this_order() -> None:
    assert list(PARTS) == ["time", "state"]
    assert list(PARTS["time"]) == [
        "observation/camera",
        "observation/speed",
        "output/action",
        "output/log_prob",
        "reward",
        "discount",
        "step_type",
        "version",
    ]
    assert list(PARTS["state"]) == ["state/h"]


def test_what_every_index_stores() -> None:
    assert {name: str(leaf) for name, leaf in TIME_SPEC.items()} == {
        "reward": "float32[]",
        "discount": "float32[]",
        "step_type": "uint8[]",
        "version": "int64[]",
    }
    assert [(step.name, step.value) for step in StepType] == [("FIRST", 0), ("MID", 1), ("LAST", 2)]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_putting_side_by_side_and_cutting_apart_loses_nothing(counts: list[int], data: st.DataObject) -> None:
    ends = np.cumsum(counts).tolist()
    starts = [0, *ends[:-1]]
    whole = side_by_side([columns(range(start, end)) for start, end in zip(starts, ends, strict=True)])
    assert unrolls_in(whole) == sum(counts)
    assert_same(whole, columns(range(sum(counts))))
    start = data.draw(st.integers(0, sum(counts)))
    stop = data.draw(st.integers(start, sum(counts)))
    assert_same(cut_columns(whole, start, stop), columns(range(start, stop)))


def test_cutting_copies_nothing() -> None:
    whole = columns(range(4))
    assert all(np.shares_memory(leaf, whole[name]) for name, leaf in cut_columns(whole, 1, 3).items())


@pytest.mark.parametrize("count", [1, 3])
def test_leaves_become_an_unroll(count: int) -> None:
    leaves = columns(range(count))
    unroll = to_unroll(leaves)
    assert list(unroll.observation) == ["camera", "speed"]
    assert list(unroll.output) == ["action", "log_prob"]
    assert list(unroll.state) == ["h"]
    assert unroll.observation["camera"].shape == (TIMES, count, 2, 2)
    assert unroll.state["h"].shape == (count, 3)
    for name in TIME_SPEC:
        assert getattr(unroll, name) is leaves[name]


def test_a_leaf_may_be_called_like_one_of_ours() -> None:
    parts = unroll_spec({"reward": TensorSpec((), "int8")}, {"state/x": TensorSpec((), "int8")}, {})
    assert list(parts["time"])[:2] == ["observation/reward", "output/state/x"]
    unroll = to_unroll({name: leaf.zeros(2, 1) for name, leaf in parts["time"].items()})
    assert list(unroll.observation) == ["reward"]
    assert list(unroll.output) == ["state/x"]
    assert unroll.state == {}
