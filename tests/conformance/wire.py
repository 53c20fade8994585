"""The protocol's bytes, written down a second time from docs/protocol.md alone.

Our own packers and unpackers are not used here: a mistake of theirs would judge itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

HELLO, WELCOME, STEP, ACTIONS, INFER, OUTPUTS, ERROR, HEARTBEAT, BYE, STATUS, REPORT = range(1, 12)
NAMES = {
    HELLO: "HELLO",
    WELCOME: "WELCOME",
    STEP: "STEP",
    ACTIONS: "ACTIONS",
    INFER: "INFER",
    OUTPUTS: "OUTPUTS",
    ERROR: "ERROR",
    HEARTBEAT: "HEARTBEAT",
    BYE: "BYE",
    STATUS: "STATUS",
    REPORT: "REPORT",
}
VERSION = 1
FIRST, TERMINATED, TRUNCATED = 1, 2, 4

_HEADER = struct.Struct("<2sBBHHQQ")
_ROW = struct.Struct("<fHH")
_LETTERS = {"int32": "i", "int64": "q", "uint8": "B", "float32": "f"}
"""Of the dtypes that the suite's environment uses."""

Spec = Mapping[str, Sequence[Any]]
"""leaf -> `[shape, dtype, minimum, maximum]`, in the order of the frames."""
Leaves = dict[str, list[float]]
"""leaf -> its numbers, flat in row-major order: of one row."""


class WireError(Exception):
    """Bytes that are not what docs/protocol.md says; the text says which, and where the page says it."""


@dataclass(frozen=True)
class Header:
    """The 24 bytes that begin every message."""

    type: int
    rows: int
    ended: int
    session: int
    sequence: int

    @property
    def name(self) -> str:
        """Of the message's type."""
        return NAMES.get(self.type, f"a message of type {self.type}")


@dataclass(frozen=True)
class Row:
    """One row of a STEP, with what the row table, the observations and the final observations say of it."""

    environment: int
    reward: float
    flags: int
    observation: Leaves
    final: Leaves | None


def pack_header(header: Header, version: int = VERSION) -> bytes:
    return _HEADER.pack(b"CR", version, header.type, header.rows, header.ended, header.session, header.sequence)


def read_header(frame: bytes) -> Header:
    if len(frame) < _HEADER.size:
        raise WireError(f"a first frame of {len(frame)} bytes; a header alone has 24 (The header)")
    magic, version, type_, rows, ended, session, sequence = _HEADER.unpack_from(frame)
    if magic != b"CR":
        raise WireError(f"a first frame begins with {magic.hex(' ')}, not with 43 52 (The header)")
    if version != VERSION:
        raise WireError(f"a header of version {version}, not {VERSION} (The header)")
    return Header(type_, rows, ended, session, sequence)


def pack_body(header: Header, body: Mapping[str, Any], version: int = VERSION) -> bytes:
    """A control message: one frame."""
    return pack_header(header, version) + msgpack.packb(body)


def read_body(frame: bytes) -> dict[str, Any]:
    """The map behind the header of a control message."""
    try:
        body = msgpack.unpackb(frame[_HEADER.size :], strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"what stands behind the header is no msgpack: {error} (Control messages)") from error
    if not isinstance(body, dict):
        raise WireError(f"a body is a map, not {body!r} (Control messages)")
    return body


def pack_answer(header: Header, policy_version: int, leaves: Sequence[tuple[str, Sequence[float]]]) -> bytes:
    """ACTIONS or OUTPUTS: for each leaf its dtype, and the numbers of all rows."""
    parts = [struct.pack(f"<{len(values)}{_LETTERS[dtype]}", *values) for dtype, values in leaves]
    return b"".join([pack_header(header), struct.pack("<Q", policy_version), *parts])


def read_step(frames: Sequence[bytes], spec: Spec) -> list[Row]:
    """The rows of a STEP: every count and every byte of it is checked."""
    header = read_header(frames[0])
    expected = _HEADER.size + _ROW.size * header.rows
    if len(frames[0]) != expected:
        what = f"the first frame of a STEP of {header.rows} rows"
        raise WireError(f"{what} has {len(frames[0])} bytes, not {expected} (The row table)")
    table = list(_ROW.iter_unpack(frames[0][_HEADER.size :]))
    ends = [bool(flags & (TERMINATED | TRUNCATED)) for _, _, flags in table]
    if header.ended != sum(ends):
        raise WireError(f"the header says that {header.ended} rows ended, their flags that {sum(ends)} did (Steps)")
    wanted = 1 + len(spec) * (2 if header.ended else 1)
    if len(frames) != wanted:
        raise WireError(
            f"a STEP with {header.ended} ended rows has {wanted} frames here, not {len(frames)} (Steps)"
        )
    observations = read_rows(frames[1 : 1 + len(spec)], spec, header.rows, "observations")
    finals = iter(read_rows(frames[1 + len(spec) :], spec, header.ended, "final observations"))
    return [
        Row(environment, reward, flags, observation, next(finals) if ended else None)
        for (reward, environment, flags), observation, ended in zip(table, observations, ends, strict=True)
    ]


def read_rows(frames: Sequence[bytes], spec: Spec, count: int, what: str) -> list[Leaves]:
    """`count` rows out of one frame for each leaf of `spec`; no frames are no rows."""
    rows: list[Leaves] = [{} for _ in range(count if frames else 0)]
    for (name, (shape, dtype, *_)), frame in zip(spec.items(), frames, strict=bool(frames)):
        size, layout = math.prod(shape), struct.Struct(f"<{math.prod(shape)}{_LETTERS[dtype]}")
        if len(frame) != count * layout.size:
            raise WireError(
                f"the frame of leaf {name!r} of {count} {what} has {len(frame)} bytes, not {count} x {size} x "
                f"{layout.size // size} (Tensors)"
            )
        for row, values in zip(rows, layout.iter_unpack(frame), strict=True):
            row[name] = list(values)
    return rows
