"""Reading ACTIONS and OUTPUTS (docs/protocol.md, "Answers")."""

from __future__ import annotations

import struct

import numpy as np

from corral.protocol import HEADER_BYTES, ErrorCode, Header, ProtocolError, Spec
from corral.protocol.tensors import from_frame

_VERSION = struct.Struct("<Q")


def unpack_answer(header: Header, frame: bytes, spec: Spec) -> tuple[int, dict[str, np.ndarray]]:
    """The policy version that answered, and its outputs, leaf -> `[rows, ...]`, writable.

    Raises:
      ProtocolError: the frame is shorter or longer than `header` and `spec` make it.
    """
    start = HEADER_BYTES + _VERSION.size
    expected = start + header.rows * sum(leaf.nbytes for leaf in spec.values())
    if len(frame) != expected:
        raise ProtocolError(ErrorCode.MALFORMED, f"an answer of {header.rows} rows takes {expected} bytes")
    (version,) = _VERSION.unpack_from(frame, HEADER_BYTES)
    memory = memoryview(bytearray(frame))
    outputs = {}
    for name, leaf in spec.items():
        stop = start + header.rows * leaf.nbytes
        outputs[name] = from_frame(memory[start:stop], leaf, header.rows, name=name)
        start = stop
    return version, outputs
