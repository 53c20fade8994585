"""What a step weighs on each line, in bytes (docs/protocol.md, "Frames")."""

from __future__ import annotations

import math
from dataclasses import dataclass

from corral.protocol import Spec, TensorSpec
from corral.protocol.header import HEADER_BYTES, ROW

_SHORT_FRAME = 255
"""Longest frame whose length ZMTP 3 writes in one byte (RFC 23, "Framing")."""
_SEAL_BYTES = 8 + 8 + 16 + 1
"""Bytes that CURVE adds to a frame: the command's name, nonce, authenticator, flags (RFC 26, "MESSAGE")."""
_VERSION_BYTES = 8
_PACKET_HEADERS = 14 + 20 + 32
"""Bytes of Ethernet, IPv4, and TCP with its timestamps, before each packet's part of a message."""
PACKET_BYTES = 1448
"""Bytes of messages in one packet of 1,500 bytes."""


@dataclass(frozen=True)
class Sizes:
    """Bytes on the wire, each for one message or one environment step.

    Attributes:
      request: a STEP of one actor.
      answer: its ACTIONS.
      unrolled: of unrolls, for each environment step.
      weights: a policy version, for each server.
    """

    request: float
    answer: float
    unrolled: float
    weights: float


def request_bytes(observation: Spec, rows: int, *, keys: bool) -> float:
    """Bytes of a STEP of `rows` environments, no episode ending."""
    frames = [HEADER_BYTES + ROW.itemsize * rows, *(leaf.nbytes * rows for leaf in observation.values())]
    return on_the_wire(frames, keys=keys)


def answer_bytes(action: TensorSpec, rows: int, *, keys: bool) -> float:
    """Bytes of the ACTIONS that answer it."""
    return on_the_wire([HEADER_BYTES + _VERSION_BYTES + action.nbytes * rows], keys=keys)


def on_the_wire(frames: list[int], *, keys: bool) -> float:
    """Bytes of a message's frames, with all that CURVE, ZMTP, TCP, IPv4 and Ethernet add."""
    sealed = [frame + (_SEAL_BYTES if keys else 0) for frame in frames]
    message = sum(frame + (2 if frame <= _SHORT_FRAME else 9) for frame in sealed)
    return message + math.ceil(message / PACKET_BYTES) * _PACKET_HEADERS


def in_a_stream(content: float) -> float:
    """Bytes that `content` takes where messages are long: what packets put before each part of it."""
    return content * (1 + _PACKET_HEADERS / PACKET_BYTES)
