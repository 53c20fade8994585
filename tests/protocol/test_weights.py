from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.protocol import (
    ErrorCode,
    MessageType,
    ProtocolError,
    TensorSpec,
    WeightManifest,
    pack_control,
    unpack_header,
)
from corral.protocol.tensors import checksum
from corral.protocol.weights import check_finite, pack_weights, unpack_weights

WEIGHTS = {
    "policy/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "policy/bias": np.array([0.5, -0.5], np.float16),
    "policy/count": np.array(7, np.int64),
}
EXPECTED = {name: TensorSpec(array.shape, str(array.dtype)) for name, array in WEIGHTS.items()}


def unpack(frames: list) -> dict[str, np.ndarray]:
    return unpack_weights(unpack_header(bytes(frames[0])), frames, EXPECTED)


def refusal(frames: list) -> str:
    with pytest.raises(ProtocolError) as caught:
        unpack(frames)
    assert caught.value.code is ErrorCode.WEIGHTS
    return caught.value.text


def packed(**changes: np.ndarray) -> list:
    return pack_weights(3, 9, WEIGHTS | {f"policy/{name}": array for name, array in changes.items()})


def test_what_is_packed_is_unpacked() -> None:
    frames = packed()
    header = unpack_header(bytes(frames[0]))
    assert (header.type, header.session, header.sequence) == (MessageType.WEIGHTS, 3, 9)
    arrived = unpack(frames)
    assert list(arrived) == list(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(arrived[name], array)


def test_the_frames_are_copies() -> None:
    array = np.zeros(2, np.float32)
    frames = pack_weights(0, 1, {"x": array})
    array[0] = 1
    assert frames[1] == bytes(8)


def test_the_order_of_tensors_is_the_sender_s() -> None:
    frames = pack_weights(3, 9, dict(reversed(WEIGHTS.items())))
    np.testing.assert_array_equal(unpack(frames)["policy/kernel"], WEIGHTS["policy/kernel"])


def test_a_flipped_bit_is_found() -> None:
    frames = packed()
    damaged = bytearray(frames[1])
    damaged[5] ^= 1
    assert "checksum of version 9 does not match" in refusal([frames[0], bytes(damaged), *frames[2:]])


def test_swapped_frames_are_found() -> None:
    one, other = np.zeros(2, np.float32), np.ones(2, np.float32)
    head, first, second = pack_weights(0, 1, {"a": one, "b": other})
    expected = {"a": TensorSpec((2,), "float32"), "b": TensorSpec((2,), "float32")}
    with pytest.raises(ProtocolError, match="checksum"):
        unpack_weights(unpack_header(bytes(head)), [head, second, first], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_what_is_not_finite_is_refused_and_named(value: float, name: str) -> None:
    array = WEIGHTS[f"policy/{name}"].copy()
    array.flat[1] = value
    assert f"1 of {array.size} values of 'policy/{name}' are not finite" in refusal(packed(**{name: array}))


def test_a_wrong_shape_is_refused_with_both() -> None:
    text = refusal(packed(kernel=np.zeros((3, 2), np.float32)))
    assert text == "'policy/kernel' is float32[2, 3] here, float32[3, 2] was pushed"


def test_a_wrong_dtype_is_refused_with_both() -> None:
    text = refusal(packed(kernel=np.zeros((2, 3), np.float64)))
    assert text == "'policy/kernel' is float32[2, 3] here, float64[2, 3] was pushed"


def test_missing_and_unknown_tensors_are_named() -> None:
    names = {"other/bias" if name == "policy/bias" else name: array for name, array in WEIGHTS.items()}
    text = refusal(pack_weights(3, 9, names))
    assert "missing: ['policy/bias']; unknown: ['other/bias']" in text


@pytest.mark.parametrize("change", [slice(1), slice(2), slice(-1)])
def test_missing_frames_are_refused(change: slice) -> None:
    assert "3 tensors make" in refusal(packed()[change])


def test_surplus_frames_are_refused() -> None:
    assert "got 4 frames" in refusal([*packed(), b""])


def test_a_frame_of_another_length_is_refused() -> None:
    frames = packed()
    assert "the frame has 23" in refusal([frames[0], frames[1][:-1], *frames[2:]])


MANIFESTS = st.builds(
    WeightManifest,
    st.dictionaries(
        st.sampled_from([*WEIGHTS, "x"]),
        st.tuples(
            st.lists(st.integers(-1, 2**40), max_size=3),
            st.sampled_from(["float32", "int64", "no"]),
            st.none(),
            st.none(),
        ).map(list),
        max_size=4,
    ),
    st.binary(max_size=20),
)


@given(MANIFESTS, st.lists(st.binary(max_size=30), max_size=4))
def test_any_manifest_and_frames_are_weights_or_refused(manifest: WeightManifest, tensors: list[bytes]) -> None:
    refusal([pack_control(MessageType.WEIGHTS, 3, 9, manifest), *tensors])


@given(st.binary(max_size=100), st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes_are_weights_or_refused(noise: bytes, tensors: list[bytes]) -> None:
    refusal([pack_control(MessageType.WEIGHTS, 3, 9) + noise, *tensors])


@given(st.data())
def test_no_damage_goes_unseen(data: st.DataObject) -> None:
    frames = [bytes(frame) for frame in packed()]
    which = data.draw(st.integers(1, len(frames) - 1))
    damaged = bytearray(frames[which])
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    frames[which] = bytes(damaged)
    assert "checksum" in refusal(frames)


def test_hostile_values_under_a_right_checksum_are_refused() -> None:
    tensors = [np.full(6, np.nan, np.float32).tobytes(), bytes(4), bytes(8)]
    spec = {name: leaf.to_wire() for name, leaf in EXPECTED.items()}
    head = pack_control(MessageType.WEIGHTS, 3, 9) + msgpack.packb({"tensors": spec, "checksum": checksum(tensors)})
    assert "6 of 6 values of 'policy/kernel' are not finite" in refusal([head, *tensors])


def test_integers_are_always_finite() -> None:
    check_finite({"x": np.array([2**62], np.int64), "y": np.array([True])})
