"""The 24-byte header that begins every message, and the row table of a STEP (docs/protocol.md, "Frames")."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np

from corral.protocol.errors import ErrorCode, ProtocolError

VERSION = 1
"""The protocol version that this code speaks."""

MAGIC = b"CR"
_LAYOUT = struct.Struct("<2sBBHHQQ")
HEADER_BYTES = _LAYOUT.size


class MessageType(IntEnum):
    """What a message is. Below 16: actors and servers; from 16: servers and the learner."""

    HELLO = 1  # -> WELCOME: who I am and what I hold
    WELCOME = 2
    STEP = 3  # -> ACTIONS: environment rows of a session
    ACTIONS = 4
    INFER = 5  # -> OUTPUTS: stateless rows
    OUTPUTS = 6
    ERROR = 7  # the answer to any request that cannot be honoured
    HEARTBEAT = 8  # no answer: the session lives, its environment is slow
    BYE = 9  # no answer: the session ends, its slots are free
    STATUS = 10  # -> REPORT: figures for people and programs
    REPORT = 11
    SET = 12  # -> REPORT: settings that change while the server runs
    COMMAND = 13  # -> REPORT: something to do once
    UNROLLS = 16  # -> ACCEPTED: completed unrolls
    ACCEPTED = 17
    WEIGHTS = 18  # -> TAKEN or ERROR: a policy version
    TAKEN = 19


class RowFlags(IntFlag):
    """What a STEP row says of the step that led to its observation."""

    FIRST = 1  # the observation begins an episode
    TERMINATED = 2  # the step before ended its episode: a final observation comes along
    TRUNCATED = 4  # the step before cut its episode short: likewise


ENDED = RowFlags.TERMINATED | RowFlags.TRUNCATED

ROW = np.dtype([("reward", "<f4"), ("environment", "<u2"), ("flags", "<u2")])
"""One row of the table behind a STEP header, 8 bytes; `environment` counts within the session."""


class Header(NamedTuple):
    """The fixed part of a message.

    Attributes:
      version: protocol version of the sender.
      type: a `MessageType`.
      rows: observation rows that follow.
      ended: final-observation rows that follow (STEP).
      session: the session's token; a nonce in HELLO; a server's identity or an epoch towards the learner.
      sequence: counts requests. An answer repeats the session and the sequence of its request.
    """

    version: int
    type: int
    rows: int
    ended: int
    session: int
    sequence: int


def pack_header(type_: MessageType, session: int, sequence: int, rows: int = 0, ended: int = 0) -> bytes:
    """The 24 bytes of a header of this version."""
    return _LAYOUT.pack(MAGIC, VERSION, type_, rows, ended, session, sequence)


def unpack_header(frame: bytes) -> Header:
    """The header at the start of `frame`.

    Raises:
      ProtocolError: MALFORMED for what is no header, VERSION for one of another version.
    """
    if len(frame) < HEADER_BYTES:
        raise ProtocolError(
            ErrorCode.MALFORMED, f"a message begins with {HEADER_BYTES} header bytes; got {len(frame)}"
        )
    magic, version, type_, rows, ended, session, sequence = _LAYOUT.unpack_from(frame)
    if magic != MAGIC:
        raise ProtocolError(ErrorCode.MALFORMED, f"a message begins with {MAGIC!r}, not {magic!r}")
    if version != VERSION:
        raise ProtocolError(
            ErrorCode.VERSION,
            f"this side speaks protocol version {VERSION}, the message is of version {version}: "
            "install the same Corral release on both sides",
        )
    return Header(version, type_, rows, ended, session, sequence)
