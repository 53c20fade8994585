"""Arrays as frames: exact bytes in, checked arrays out (docs/protocol.md, "Tensors")."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.specs import Spec, TensorSpec


def to_frame(array: np.ndarray) -> memoryview | bytes:
    """The bytes of an array in row-major order; a view where the array lies so already."""
    if array.size == 0:
        return b""
    return np.ascontiguousarray(array).data.cast("B")


def from_frame(frame: bytes | memoryview, spec: TensorSpec, *leading: int, name: str = "tensor") -> np.ndarray:
    """A view of `frame` as an array of shape `leading + spec.shape`.

    Raises:
      ProtocolError: SPEC where the frame has not exactly that many bytes.
    """
    shape = (*leading, *spec.shape)
    expected = spec.nbytes * math.prod(leading)
    if len(frame) != expected:
        raise ProtocolError(
            ErrorCode.SPEC, f"{name!r} is {spec.dtype}{list(shape)}, {expected} bytes; the frame has {len(frame)}"
        )
    return np.frombuffer(frame, spec.dtype).reshape(shape)


def from_frames(frames: Sequence[bytes | memoryview], spec: Spec, *leading: int) -> dict[str, np.ndarray]:
    """One array per leaf of `spec`, in its order. Raises `ProtocolError` (SPEC)."""
    if len(frames) != len(spec):
        raise ProtocolError(ErrorCode.SPEC, f"{len(spec)} tensors make {list(spec)}; got {len(frames)} frames")
    leaves = zip(frames, spec.items(), strict=True)
    return {name: from_frame(frame, leaf, *leading, name=name) for frame, (name, leaf) in leaves}


def check_rows(values: Mapping[str, np.ndarray], spec: Spec) -> int:
    """How many rows `values` holds, all leaves alike.

    Raises:
      ProtocolError: SPEC, naming the leaf, what it is and what it should be.
    """
    if values.keys() != spec.keys():
        raise ProtocolError(ErrorCode.SPEC, f"the leaves are {list(spec)}, not {list(values)}")
    counts = {}
    for name, leaf in spec.items():
        array = values[name]
        if array.ndim != len(leaf.shape) + 1 or array.shape[1:] != leaf.shape or array.dtype != leaf.dtype:
            raise ProtocolError(
                ErrorCode.SPEC,
                f"{name!r} takes rows of {leaf}, so an array of {leaf.dtype}{['rows', *leaf.shape]}; "
                f"got {array.dtype}{list(array.shape)}".replace("'", ""),
            )
        counts[name] = len(array)
    if len(set(counts.values())) != 1:
        raise ProtocolError(ErrorCode.SPEC, f"every leaf needs as many rows; got {counts}")
    return counts.popitem()[1]


def checksum(frames: Iterable[bytes | memoryview]) -> bytes:
    """BLAKE2b-128 over the frames in order: finds damage, not malice (keys do that)."""
    digest = hashlib.blake2b(digest_size=16)
    for frame in frames:
        digest.update(frame)
    return digest.digest()
