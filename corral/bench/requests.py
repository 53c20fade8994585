"""The requests of one made-up client, as frames: everything but their numbers is packed once."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from corral.bench.load import EPISODE_STEPS
from corral.protocol import ROW, MessageType, RowFlags, Spec, TensorSpec, pack_header

_SEQUENCE = struct.Struct("<Q")
_BEFORE_SEQUENCE = 16

Frames = Sequence[bytes]


class Requests:
    """What one client sends, request after request: INFER where it has no session, else the STEPs of its
    environments, all of which end an episode every `EPISODE_STEPS` steps.

    Args:
      session: its token; 0 for none.
      observation: leaf -> `[rows, ...]`; sent again and again.
    """

    def __init__(self, session: int, observation: dict[str, np.ndarray]) -> None:
        self.sequence = 0
        self._rows = rows = len(next(iter(observation.values())))
        leaves = [array.tobytes() for array in observation.values()]
        self._is_step = session != 0
        if not self._is_step:
            self._middle = self._kind(MessageType.INFER, 0, b"", leaves)
            return
        self._first = self._kind(MessageType.STEP, session, _table(rows, RowFlags.FIRST, 0.0), leaves)
        self._middle = self._kind(MessageType.STEP, session, _table(rows, RowFlags(0), 1.0), leaves)
        ended = _table(rows, RowFlags.FIRST | RowFlags.TERMINATED, 1.0)
        self._ended = self._kind(MessageType.STEP, session, ended, [*leaves, *leaves], ended=rows)

    def next(self) -> list[bytes]:
        """The frames of the next request; `sequence` is its number."""
        self.sequence = sequence = self.sequence + 1
        kind = self._middle
        if self._is_step and sequence % EPISODE_STEPS == 1:
            kind = self._first if sequence == 1 else self._ended
        before, table, leaves = kind
        return [before + _SEQUENCE.pack(sequence) + table, *leaves]

    def _kind(
        self, type_: MessageType, session: int, table: bytes, leaves: list[bytes], ended: int = 0
    ) -> tuple[bytes, bytes, list[bytes]]:
        head = pack_header(type_, session, 0, rows=self._rows, ended=ended)
        return head[:_BEFORE_SEQUENCE], table, leaves


def sequence_of(frame: bytes) -> int:
    """The number of the request that an answer answers."""
    return int(_SEQUENCE.unpack_from(frame, _BEFORE_SEQUENCE)[0])


def made_up(spec: Spec, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Random observations within their bounds, leaf -> `[rows, ...]`."""
    random = np.random.default_rng(seed)
    return {name: _random_leaf(random, rows, leaf) for name, leaf in spec.items()}


def _random_leaf(random: np.random.Generator, rows: int, leaf: TensorSpec) -> np.ndarray:
    shape, dtype = (rows, *leaf.shape), np.dtype(leaf.dtype)
    if dtype.kind == "f":
        return random.uniform(-1, 1, shape).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    low = np.array(0 if leaf.minimum is None else leaf.minimum)
    high = np.array(min(np.iinfo(dtype).max, 255) if leaf.maximum is None else leaf.maximum)
    each = (rows, leaf.size)
    return (
        random.integers(np.broadcast_to(low, each), np.broadcast_to(high, each), endpoint=True)
        .astype(dtype)
        .reshape(shape)
    )


def _table(rows: int, flags: RowFlags, reward: float) -> bytes:
    table = np.zeros(rows, ROW)
    table["environment"], table["flags"], table["reward"] = np.arange(rows), int(flags), reward
    return table.tobytes()
