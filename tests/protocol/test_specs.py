from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.protocol import (
    ErrorCode,
    ProtocolError,
    Spec,
    TensorSpec,
    describe,
    mismatch,
    spec_from_wire,
    spec_to_wire,
)
from corral.protocol.specs import DTYPES, MAX_LEAF_BYTES
from tests.protocol.outcome import outcome

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats()
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensor_specs(draw: st.DrawFn) -> TensorSpec:
    shape = draw(SHAPES)
    size = int(np.prod(shape, dtype=int))
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    bound = st.none() | numbers | st.lists(numbers, min_size=size, max_size=size).map(tuple)
    return TensorSpec(shape, draw(st.sampled_from(sorted(DTYPES))), draw(bound), draw(bound))


SPECS = st.dictionaries(st.text(max_size=8), tensor_specs(), max_size=4)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
ALMOST = st.tuples(
    st.lists(st.integers(-1, 2**64 - 1), max_size=10) | ANYTHING,
    st.sampled_from(sorted(DTYPES)) | ANYTHING,
    ANYTHING,
    ANYTHING,
).map(list)


@given(SPECS)
def test_what_crosses_the_wire_arrives(spec: Spec) -> None:
    arrived = spec_from_wire(msgpack.unpackb(msgpack.packb(spec_to_wire(spec))))
    assert arrived == spec
    assert list(arrived) == list(spec)
    assert mismatch(spec, arrived, bounds=True) is None


@given(ANYTHING | st.dictionaries(st.text(max_size=5), ALMOST | ANYTHING, max_size=3))
def test_anything_is_a_spec_or_refused(value: Any) -> None:
    spec = outcome(spec_from_wire, value)
    if isinstance(spec, ProtocolError):
        assert spec.code is ErrorCode.SPEC
    else:
        # Whatever is let in must be safe to describe and compare.
        assert describe(spec).startswith("{")
        mismatch(spec, {name: TensorSpec((), "bool") for name in spec}, bounds=True)
        assert all(leaf.num_values is None or leaf.num_values > -(2**65) for leaf in spec.values())
        assert all(leaf.zeros(0).nbytes == 0 for leaf in spec.values())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "a map"),
        ([], "a map"),
        ({"x": None}, "[shape, dtype, minimum, maximum]"),
        ({"x": [[2], "float32", None]}, "[shape, dtype, minimum, maximum]"),
        ({"x": [2, "float32", None, None]}, "[shape, dtype, minimum, maximum]"),
        ({"x": [[2.0], "float32", None, None]}, "[shape, dtype, minimum, maximum]"),
        ({"x": [[True], "float32", None, None]}, "[shape, dtype, minimum, maximum]"),
        ({"x": [[2], "object", None, None]}, "'object' is not one of"),
        ({"x": [[2], ">f4", None, None]}, "'>f4' is not one of"),
        ({"x": [[-1], "float32", None, None]}, "(-1,)"),
        ({"x": [[1] * 9, "float32", None, None]}, "0 to 8 sizes"),
        ({"x": [[0, 2**40], "float32", None, None]}, str(2**40)),
        ({"x": [[2**30], "float32", None, None]}, f"more than {MAX_LEAF_BYTES}"),
        ({"x": [[2], "float32", "low", None]}, "a bound is a number"),
        ({"x": [[2], "float32", None, [1]]}, "1 bounds for shape [2]"),
        ({"x": [[2], "float32", None, [1, "2"]]}, "a bound is a number"),
    ],
)
def test_what_is_wrong_is_named(value: Any, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        spec_from_wire(value)
    assert caught.value.code is ErrorCode.SPEC
    assert words in caught.value.text


@pytest.mark.parametrize(
    ("leaf", "values"),
    [
        (TensorSpec((), "int64", 0, 1), 2),
        (TensorSpec((), "int8", -3, 3), 7),
        (TensorSpec((2,), "uint8", (0, 5), (1, 9)), 10),
        (TensorSpec((), "int64", -(2**63), 2**63 - 1), 2**64),
        (TensorSpec((), "uint64", 0, 2**64 - 1), 2**64),
        (TensorSpec((), "int64", 0.0, 4.0), 5),
        (TensorSpec((), "int64", 0), None),
        (TensorSpec((), "int64", float("-inf"), 1), None),
        (TensorSpec((), "int64", 0, float("nan")), None),
        (TensorSpec((0,), "int64", (), ()), None),
        (TensorSpec((), "float32", 0, 1), None),
        (TensorSpec((), "bool", 0, 1), None),
    ],
)
def test_a_discrete_leaf_counts_its_values(leaf: TensorSpec, values: int | None) -> None:
    assert leaf.num_values == values


def test_sizes() -> None:
    leaf = TensorSpec((2, 3), "float16")
    assert (leaf.size, leaf.nbytes) == (6, 12)
    assert leaf.zeros(5, 4).shape == (5, 4, 2, 3)
    assert leaf.zeros(5, 4).dtype == np.float16
    assert TensorSpec((), "float64").nbytes == 8


def test_leaves_of_one_shape_and_dtype_fit_whatever_their_bounds() -> None:
    ours = {"x": TensorSpec((2,), "float32", -1.0, 1.0)}
    theirs = {"x": TensorSpec((2,), "float32")}
    assert mismatch(ours, theirs) is None
    assert mismatch(ours, theirs, bounds=True) == "'x' ranges over (-1.0, 1.0) here and (None, None) there"


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ({"y": TensorSpec((2,), "float32")}, "the leaves are ['x'] here and ['y'] there"),
        ({}, "the leaves are ['x'] here and [] there"),
        ({"x": TensorSpec((3,), "float32")}, "'x' is float32[2] here and float32[3] there"),
        ({"x": TensorSpec((2,), "float64")}, "'x' is float32[2] here and float64[2] there"),
    ],
)
def test_a_mismatch_shows_both_values(theirs: Spec, words: str) -> None:
    assert mismatch({"x": TensorSpec((2,), "float32")}, theirs) == words


def test_the_order_of_leaves_counts() -> None:
    one, other = TensorSpec((), "int8"), TensorSpec((), "int16")
    assert mismatch({"a": one, "b": other}, {"b": other, "a": one}) is not None


def test_a_spec_reads_as_a_line() -> None:
    spec = {"camera": TensorSpec((4, 4), "uint8"), "gear": TensorSpec((), "int64", 0, 2)}
    assert describe(spec) == "{camera: uint8[4, 4], gear: int64[] of 3 values}"


def test_bounds_are_told_element_by_element():
    low, high = TensorSpec((2, 2), "float32", 0.0, (1.0, 2.0, 3.0, 4.0)).bounds
    assert low.tolist() == [[0, 0], [0, 0]]
    assert high.tolist() == [[1, 2], [3, 4]]
    low, high = TensorSpec((), "float32", None, 5.0).bounds
    assert (low.tolist(), high.tolist()) == (-np.inf, 5.0)


def test_whole_bounds_stay_exact():
    assert TensorSpec((), "int64", -(2**63), 2**62 + 1).bounds[1].item() == 2**62 + 1


@pytest.mark.timeout(20)
def test_a_long_shape_is_refused_before_anything_is_multiplied() -> None:
    """It took 40 s to count the bounds of one that fits a message, and a server serves others meanwhile."""
    for bound in (None, []):
        with pytest.raises(ProtocolError, match="0 to 8 sizes"):
            spec_from_wire({"x": [[2**63] * 110_000, "int8", bound, bound]})


def test_more_leaves_than_a_message_has_frames() -> None:
    with pytest.raises(ProtocolError, match="16385 leaves; a message has at most 16384 frames"):
        spec_from_wire({str(number): [[], "int8", None, None] for number in range(16_385)})
