"""WEIGHTS messages: one policy version as a manifest and raw frames (docs/protocol.md, "Weights")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from corral.protocol.control import WeightManifest, pack_control, unpack_control
from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.header import HEADER_BYTES, Header, MessageType, pack_header, unpack_header
from corral.protocol.specs import Spec, TensorSpec, spec_from_wire, spec_to_wire
from corral.protocol.tensors import checksum, from_frames

Frame = bytes | memoryview


def pack_weights(epoch: int, version: int, weights: Mapping[str, np.ndarray]) -> list[Frame]:
    """The frames of a WEIGHTS message, copied from the arrays."""
    spec = {name: TensorSpec(array.shape, str(array.dtype)) for name, array in weights.items()}
    tensors = [array.tobytes() for array in weights.values()]
    manifest = WeightManifest(spec_to_wire(spec), checksum(tensors))
    return [pack_control(MessageType.WEIGHTS, epoch, version, manifest), *tensors]


def in_epoch(epoch: int, frames: Sequence[Frame]) -> list[Frame]:
    """The frames of a WEIGHTS message, as of another epoch; none of none."""
    if not frames:
        return []
    head = bytes(frames[0])
    version = unpack_header(head).sequence
    return [pack_header(MessageType.WEIGHTS, epoch, version) + head[HEADER_BYTES:], *frames[1:]]


def unpack_weights(header: Header, frames: Sequence[Frame], expected: Spec) -> dict[str, np.ndarray]:
    """The verified tensors of a WEIGHTS message, as views of its frames.

    Raises:
      ProtocolError: WEIGHTS, saying what is wrong: a name, a shape, a dtype, a length, the checksum, or a value
        that is not finite. Nothing of such a message may be used.
    """
    try:
        manifest = unpack_control(WeightManifest, bytes(frames[0]))
        spec = spec_from_wire(manifest.tensors)
        _check_same(spec, expected)
        tensors = from_frames(frames[1:], spec)
    except ProtocolError as error:
        raise ProtocolError(ErrorCode.WEIGHTS, error.text) from error
    if checksum(frames[1:]) != manifest.checksum:
        raise ProtocolError(ErrorCode.WEIGHTS, f"the checksum of version {header.sequence} does not match")
    check_finite(tensors)
    return tensors


def check_finite(weights: Mapping[str, np.ndarray]) -> None:
    """Raises `ProtocolError` (WEIGHTS), naming the first tensor that holds NaN or infinity."""
    for name, array in weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.count_nonzero(~np.isfinite(array)))
            raise ProtocolError(ErrorCode.WEIGHTS, f"{bad} of {array.size} values of {name!r} are not finite")


def _check_same(spec: Spec, expected: Spec) -> None:
    missing, unknown = expected.keys() - spec.keys(), spec.keys() - expected.keys()
    if missing or unknown:
        raise ProtocolError(
            ErrorCode.WEIGHTS,
            f"tensors are missing: {sorted(missing)[:8]}; unknown: {sorted(unknown)[:8]}. The learner and the "
            "server must build the same network",
        )
    for name, leaf in expected.items():
        if not leaf.same_array(spec[name]):
            raise ProtocolError(ErrorCode.WEIGHTS, f"{name!r} is {leaf} here, {spec[name]} was pushed")
