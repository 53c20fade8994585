"""Messages that are right in every way, and what can be wrong with them, field by field."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack
import numpy as np
from hypothesis import strategies as st

from corral.protocol import ROW, MessageType
from corral.protocol.tensors import checksum

HEAD = struct.Struct("<2sBBHHQQ")
Frames = list[bytes]
_ALL = 2**64 - 1


@dataclass
class Draft:
    """A message before it is packed: whatever of it may be changed."""

    type: int
    session: int = 0
    sequence: int = 0
    rows: int = 0
    ended: int = 0
    magic: bytes = b"CR"
    version: int = 1
    table: np.ndarray | None = None
    body: Any = None
    leaves: list[bytes] = field(default_factory=list)

    def frames(self) -> Frames:
        """The frames as they are sent."""
        head = HEAD.pack(
            self.magic, self.version, self.type, self.rows, self.ended, self.session & _ALL, self.sequence & _ALL
        )
        table = b"" if self.table is None else self.table.tobytes()
        body = b"" if self.body is None else self.body if isinstance(self.body, bytes) else _pack(self.body)
        return [head + table + body, *self.leaves]


def _pack(body: Any) -> bytes:
    packed: bytes = msgpack.packb(body)
    return packed


EDGES = sorted(
    {0, 1, 2, 3, 7, 8, 9, *(2**k + d for k in (8, 15, 16, 31, 32, 53, 62, 63, 64) for d in (-1, 0, 1))}
    - {2**64, 2**64 + 1}
)
INTEGERS = st.sampled_from(EDGES) | st.integers(0, _ALL) | st.sampled_from([-1, -2, -(2**31), -(2**63)])
FLOATS = st.sampled_from([0.0, -0.0, 1.5, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan")])
NAMES = [
    "",
    "actor",
    "server",
    "client",
    "observation",
    "float32",
    "object",
    "\x00",
    "\n\x1b[2J",
    "é" * 40,
    "x" * 4097,
    "\U0001f40e",
]
TEXTS = st.sampled_from(NAMES)
LEAVES = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS, st.binary(max_size=9)) | st.sampled_from(
    [
        msgpack.ExtType(5, b"abc"),
        msgpack.Timestamp(1, 2),
        [],
        {},
        [[]],
        [1] * 300,
        [0.5] * 2000,
        list(range(70_000)),
    ]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
BODIES = [
    b"",
    b"\xc0",
    b"\xc1",
    b"\x80",
    b"\x90",
    b"\x91" * 3000,
    b"\x81\xa1a" * 900 + b"\xc0",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xdd\x00\x00\xff\xff" * 600,
    b"\xd9\x04\xff\xff\xff\xff",
    bytes(1 << 20),
    b"\x90" * 100_000,
]
NUMBER = struct.Struct("<f")
REWARDS = [0.0, -1.0, 3.4e38, 1e-45, float("nan"), float("inf"), float("-inf")]


@dataclass
class Chance:
    """What decides: all of it drawn by hypothesis, and the same again for the same seed.

    Attributes:
      random: for choices that depend on what the other side has said so far, which hypothesis must not see.
      values: what may stand where something else should.
    """

    random: Random
    values: Sequence[Any]

    def of(self, choices: Sequence[Any]) -> Any:
        """One of these."""
        return self.random.choice(choices)

    def number(self, least: int, most: int) -> int:
        """A whole number, `most` included."""
        return self.random.randint(least, most)

    def count(self) -> int:
        """A whole number of 64 bits; more often than not one at which something ends."""
        return self.random.getrandbits(64) if self.random.random() < 0.3 else self.random.choice(EDGES)

    def noise(self, least: int, most: int) -> bytes:
        """So many bytes."""
        return self.random.randbytes(self.number(least, most))

    def value(self) -> Any:
        """Anything that msgpack can hold."""
        return self.of(self.values)


CHANCES = st.builds(Chance, st.randoms(use_true_random=True), st.lists(VALUES, min_size=6, max_size=6))


def _header(chance: Chance, draft: Draft) -> None:
    name = chance.of(["type", "rows", "ended", "session", "sequence", "version", "magic"])
    if name == "magic":
        draft.magic = chance.of([b"\0\0", b"CC", b"RC", b"GE"])
    elif name == "version":
        draft.version = chance.number(0, 255)
    elif name == "type":
        draft.type = chance.of([*MessageType, 0, 13, 20, 255])
    elif name in ("rows", "ended"):
        setattr(draft, name, chance.number(0, chance.of([10, 65_535])))
    else:
        near = getattr(draft, name)
        setattr(draft, name, chance.of([near - 1, near + 1, near + 2, near ^ 1, chance.count(), chance.count()]))


def _table(chance: Chance, draft: Draft) -> None:
    if draft.table is None or not len(draft.table):
        draft.table = np.zeros(chance.number(1, 9), ROW)
        return
    what = chance.number(0, 4)
    table = draft.table = draft.table.copy()
    row = chance.number(0, len(table) - 1)
    if what == 0:
        table["reward"][row] = chance.of(REWARDS)
    elif what == 1:
        table["environment"][row] = chance.number(0, chance.of([3, 65_535]))
    elif what == 2:
        table["flags"][row] = chance.number(0, chance.of([7, 65_535]))
    elif what == 3:
        draft.table = table[:row]
    else:
        draft.table = np.concatenate([table, table[: row + 1]])


def _leaf(chance: Chance, draft: Draft) -> None:
    leaves = draft.leaves
    if not leaves:
        leaves.append(chance.noise(0, 40))
        return
    place = chance.number(0, len(leaves) - 1)
    leaf = leaves[place]
    what = chance.number(0, 9)
    if what == 0:
        del leaves[place]
    elif what == 1:
        leaves.insert(place, leaf)
    elif what == 2:
        leaves[place], leaves[-1] = leaves[-1], leaves[place]
    elif what == 3:
        leaves[place] = leaf[: chance.number(0, max(len(leaf) - 1, 0))]
    elif what == 4:
        leaves[place] = leaf + chance.noise(1, 9)
    elif what == 5:
        leaves[place] = leaf * 2
    elif what == 6:
        leaves[place] = b""
    elif what == 7:
        leaves += [b""] * chance.of([1, 2, 5, 100])
    else:  # the right length, and other contents: not a number here and there
        _overwrite(chance, leaves, place)


def _overwrite(chance: Chance, leaves: list[bytes], place: int) -> None:
    leaf = bytearray(leaves[place])
    if len(leaf) < 4:
        return
    at = chance.number(0, len(leaf) // 4 - 1) * 4
    leaf[at : at + 4] = NUMBER.pack(chance.of(REWARDS))
    leaves[place] = bytes(leaf)


def _body(chance: Chance, draft: Draft) -> None:
    if not isinstance(draft.body, dict) or chance.number(0, 9) == 0:
        draft.body = chance.of(BODIES)
        return
    draft.body = _changed(chance, draft.body)


def _changed(chance: Chance, value: Any) -> Any:
    """`value` with a change somewhere within."""
    if isinstance(value, dict) and value:
        value = dict(value)
        key = chance.of(sorted(value, key=str))
        what = chance.number(0, 9)
        if what == 0:
            del value[key]
        elif what == 1:
            value[chance.of(NAMES)] = chance.value()
        elif what == 2:
            value[chance.of(NAMES)] = value.pop(key)
        else:
            value[key] = _changed(chance, value[key])
        return value
    if isinstance(value, list | tuple) and value and chance.of([True, False]):
        value = list(value)
        place = chance.number(0, len(value) - 1)
        if chance.of([True, False]):
            value[place] = _changed(chance, value[place])
        else:
            value[place:place] = [chance.value()] * chance.of([1, 2, 100])
        return value
    return chance.value()


_DAMAGES: Sequence[Callable[[Chance, Draft], None]] = (_header, _table, _leaf, _body)


def _raw(chance: Chance, frames: Frames) -> Frames:
    what = chance.number(0, 6)
    head = frames[0]
    if what == 0:
        return [head[: chance.number(0, len(head) - 1)], *frames[1:]]
    if what == 1:
        return [head + chance.noise(1, 40), *frames[1:]]
    if what == 2:
        return [b"", *frames]
    if what == 3:
        return frames[1:] or [b""]
    if what == 4:
        return frames + [chance.noise(0, 9)] * chance.of([1, 3, 300])
    if what == 5:
        place = chance.number(0, len(head) - 1)
        return [head[:place] + chance.noise(1, 3) + head[place + 1 :], *frames[1:]]
    return [chance.noise(0, 60) for _ in range(chance.number(1, 4))]


def damaged(chance: Chance, draft: Draft, *, seal: bool = False) -> Frames:
    """The message with 0 to 3 things wrong.

    Args:
      chance: decides.
      draft: a valid message; it is changed.
      seal: of a WEIGHTS message: compute the checksum anew where that decides about it, now and then.
    """
    about = [damage for damage in _DAMAGES if _concerns(damage, draft)]
    for _ in range(chance.of([0, 1, 1, 1, 2, 3])):
        chance.of(about)(chance, draft)
    if seal and isinstance(draft.body, dict) and chance.of([True, False]):
        draft.body = draft.body | {"checksum": checksum(draft.leaves)}
    frames = draft.frames()
    return _raw(chance, frames) if chance.number(0, 9) == 0 else frames


def _concerns(damage: Callable[[Chance, Draft], None], draft: Draft) -> bool:
    if damage is _table:
        return draft.table is not None
    if damage is _body:
        return draft.body is not None
    if damage is _leaf:
        return bool(draft.leaves)
    return True


def readable(frames: Sequence[bytes]) -> tuple[int, int, int] | None:
    """Type, session and sequence of a message that begins with a header of ours, else None."""
    if len(frames[0]) < HEAD.size:
        return None
    magic, version, type_, _, _, session, sequence = HEAD.unpack_from(frames[0])
    return (type_, session, sequence) if magic == b"CR" and version == 1 else None


def in_words(frames: Sequence[bytes]) -> str:
    """What was sent, for whoever looks for the reason."""
    shown = ", ".join(f"{len(frame)}: {bytes(frame[:160]).hex()}" for frame in frames[:6])
    return f"{len(frames)} frames [{shown}]"
