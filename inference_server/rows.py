"""Memory for the rows of a batch: one preallocated array, written as bytes and read as an array."""

from __future__ import annotations

import numpy as np

from corral.protocol import ErrorCode, ProtocolError, TensorSpec

_ALIGNMENT = 64
"""Bytes to whose multiple the memory begins: frameworks take an array that does without copying it."""


class Rows:
    """`size` rows of one leaf.

    Attributes:
      name: the leaf's, for whoever has to be told what was wrong with it.
      array: `[size, ...]`.
      memory: the bytes of the array.
      row_bytes: of one row.
    """

    def __init__(self, name: str, size: int, dtype: np.dtype | str, shape: tuple[int, ...] = ()) -> None:
        self.name = name
        dtype = np.dtype(dtype)
        self.row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = np.zeros(size * self.row_bytes + _ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % _ALIGNMENT
        raw = raw[start : start + size * self.row_bytes]
        self.memory = raw.data
        self.array = raw.view(dtype).reshape(size, *shape)

    @classmethod
    def of(cls, name: str, size: int, leaf: TensorSpec) -> Rows:
        """Rows of the leaf that `leaf` describes."""
        return cls(name, size, leaf.dtype, leaf.shape)

    def misfit(self, rows: int, received: int) -> ProtocolError:
        """What to tell a peer whose frame for `rows` rows had `received` bytes."""
        wanted = f"{self.array.dtype}{[rows, *self.array.shape[1:]]}, {rows * self.row_bytes} bytes"
        return ProtocolError(ErrorCode.SPEC, f"{self.name!r} takes {wanted}; the frame has {received}")

    def missing(self) -> ProtocolError:
        """What to tell a peer that sent no frame for this leaf."""
        return ProtocolError(ErrorCode.SPEC, f"the frame of {self.name!r} is missing")
