from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corral.protocol import ErrorCode, ProtocolError, TensorSpec
from corral.protocol.specs import DTYPES
from corral.protocol.tensors import check_rows, checksum, from_frame, from_frames, to_frame
from tests.protocol.outcome import outcome

LEAF = TensorSpec((2, 3), "float32")
ARRAYS = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@given(ARRAYS)
def test_what_goes_out_comes_in(array: np.ndarray) -> None:
    frame = bytes(to_frame(array))
    arrived = from_frame(frame, TensorSpec(array.shape, str(array.dtype)))
    assert frame == array.tobytes()
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)


@given(st.binary(max_size=100), st.integers(0, 5), st.sampled_from(sorted(DTYPES)))
def test_any_bytes_are_an_array_or_refused_with_both_lengths(frame: bytes, rows: int, dtype: str) -> None:
    leaf = TensorSpec((2,), dtype)
    array = outcome(from_frame, frame, leaf, rows, name="camera")
    if isinstance(array, ProtocolError):
        assert array.code is ErrorCode.SPEC
        expected = f"{dtype}[{rows}, 2], {rows * leaf.nbytes} bytes"
        assert array.text == f"'camera' is {expected}; the frame has {len(frame)}"
    else:
        assert array.shape == (rows, 2)
        assert array.tobytes() == frame


def test_arrays_that_lie_otherwise_go_out_row_major() -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    assert bytes(to_frame(array.T)) == array.T.copy().tobytes()
    assert bytes(to_frame(array[:, ::2])) == array[:, ::2].copy().tobytes()


def test_an_array_that_lies_right_is_not_copied() -> None:
    array = np.zeros(4, np.float32)
    view = to_frame(array)
    array[0] = 1
    assert bytes(view) == array.tobytes()


def test_an_array_from_a_frame_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        from_frame(bytes(24), LEAF)[0] = 1


@pytest.mark.parametrize("leading", [(2**64 - 1,), (16, 2**60), (2**32, 2**32)])
def test_counts_that_overflow_64_bits_are_refused(leading: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="the frame has 0"):
        from_frame(b"", TensorSpec((), "float32"), *leading)


def test_frames_make_leaves_in_order() -> None:
    spec = {"a": TensorSpec((), "uint8"), "b": TensorSpec((2,), "uint8")}
    leaves = from_frames([b"\1\2", b"\3\4\5\6"], spec, 2)
    assert {name: leaf.tolist() for name, leaf in leaves.items()} == {"a": [1, 2], "b": [[3, 4], [5, 6]]}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_missing_and_surplus_frames_are_refused(count: int) -> None:
    spec = {"a": TensorSpec((), "uint8"), "b": TensorSpec((), "uint8")}
    with pytest.raises(ProtocolError, match=rf"2 tensors make \['a', 'b'\]; got {count} frames"):
        from_frames([b"\1"] * count, spec, 1)


def test_rows_are_counted() -> None:
    assert check_rows({"x": np.zeros((5, 2, 3), np.float32)}, {"x": LEAF}) == 5
    assert check_rows({"x": np.zeros((0, 2, 3), np.float32)}, {"x": LEAF}) == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "the leaves are ['x'], not []"),
        ({"y": np.zeros((5, 2, 3), np.float32)}, "the leaves are ['x'], not ['y']"),
        ({"x": np.zeros((2, 3), np.float32)}, "an array of float32[rows, 2, 3]; got float32[2, 3]"),
        ({"x": np.zeros((5, 3, 2), np.float32)}, "got float32[5, 3, 2]"),
        ({"x": np.zeros((5, 2, 3), np.float64)}, "got float64[5, 2, 3]"),
        ({"x": np.float32(1)}, "got float32[]"),
    ],
)
def test_wrong_rows_are_refused_with_what_they_should_be(values: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_rows(values, {"x": LEAF})
    assert caught.value.code is ErrorCode.SPEC
    assert words in caught.value.text


def test_leaves_of_unequal_rows_are_refused() -> None:
    spec = {"a": TensorSpec((), "int8"), "b": TensorSpec((), "int8")}
    with pytest.raises(ProtocolError, match=r"got \{'a': 2, 'b': 3\}"):
        check_rows({"a": np.zeros(2, np.int8), "b": np.zeros(3, np.int8)}, spec)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_the_checksum_is_that_of_the_frames_joined(frames: list[bytes]) -> None:
    assert checksum(frames) == hashlib.blake2b(b"".join(frames), digest_size=16).digest()
    assert checksum(map(memoryview, frames)) == checksum(frames)
