"""Replies: the rows of a computed batch, cut into one frame per request (docs/protocol.md, "Answers")."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from corral.protocol import MessageType, pack_header

_VERSION = struct.Struct("<Q")


class Answers:
    """The output leaves of one batch, ready to be cut.

    Args:
      type_: ACTIONS or OUTPUTS.
      outputs: leaf -> `[rows, ...]`.
      names: which leaves go out, in this order.
      version: the policy version that computed them.
    """

    def __init__(
        self, type_: MessageType, outputs: Mapping[str, np.ndarray], names: Sequence[str], version: int
    ) -> None:
        self._type = type_
        self._version = _VERSION.pack(version)
        arrays = [np.ascontiguousarray(outputs[name]) for name in names]
        self._leaves = [(array.tobytes(), array.nbytes // max(len(array), 1)) for array in arrays]
        self._only = self._leaves[0] if len(self._leaves) == 1 else None

    def cut(self, session: int, sequence: int, start: int, stop: int) -> bytes:
        """The frame that answers request `sequence` with rows `start` to `stop`."""
        head = pack_header(self._type, session, sequence, rows=stop - start)
        if self._only is not None:  # an action: what nearly every answer is
            leaf, size = self._only
            return head + self._version + leaf[start * size : stop * size]
        rows = [leaf[start * size : stop * size] for leaf, size in self._leaves]
        return b"".join((head, self._version, *rows))
