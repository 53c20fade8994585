"""Asking a server or a learner how it does, and changing a server's settings (docs/protocol.md, "Status")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zmq

from corral.protocol.control import Change, Command, Failure, Question, Report, pack_control, unpack_control
from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.header import MessageType, unpack_header
from corral.protocol.keys import Caller
from corral.protocol.sockets import open_dealer


def fetch_status(
    address: str,
    timeout_s: float = 1.0,
    context: zmq.SyncContext | None = None,
    keys: Caller | None = None,
    *,
    actors: int = 0,
) -> dict[str, Any] | None:
    """The figures of the server or learner at `address`, or None where nothing answers within `timeout_s`.

    Args:
      actors: how many of its actors a server shall list, at most, as `actor_table`.
      keys: an operator's, where the other side has keys.

    Raises:
      AddressError: the address is malformed.
    """
    try:
        frame = pack_control(MessageType.STATUS, 0, 0, Question(actors) if actors else None)
        return _ask(address, frame, timeout_s, context, keys)
    except ProtocolError:
        return None


def change_settings(
    address: str,
    settings: Mapping[str, Any],
    timeout_s: float = 5.0,
    context: zmq.SyncContext | None = None,
    keys: Caller | None = None,
) -> dict[str, Any] | None:
    """Change settings of the running server at `address`: all of them, or, where one is refused, none.

    Args:
      settings: dotted key ("server.batching.timeout_us") -> value.
      keys: an operator's, where the server has keys.

    Returns:
      the server's figures after the change, or None where nothing answers within `timeout_s`.

    Raises:
      AddressError: the address is malformed.
      ProtocolError: SETTING, saying what can be set; or what else the other side refused.
    """
    try:
        frame = pack_control(MessageType.SET, 0, 0, Change(dict(settings)))
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(ErrorCode.SETTING, f"such values cannot be sent: {error}") from error
    return _ask(address, frame, timeout_s, context, keys)


def send_command(
    address: str,
    name: str,
    timeout_s: float = 5.0,
    context: zmq.SyncContext | None = None,
    keys: Caller | None = None,
) -> dict[str, Any] | None:
    """Tell the server or learner at `address` to do something: it has heard, and does it as soon as it can.

    Args:
      name: "drain": answer or train what has come, save, and end; of a learner too: "pause" and "resume" training,
        "checkpoint".

    Returns:
      the other side's figures, or None where nothing answers within `timeout_s`.

    Raises:
      AddressError: the address is malformed.
      ProtocolError: COMMAND, saying what it can be told; or what else the other side refused.
    """
    return _ask(address, pack_control(MessageType.COMMAND, 0, 0, Command(name)), timeout_s, context, keys)


def _ask(
    address: str, frame: bytes, timeout_s: float, context: zmq.SyncContext | None, keys: Caller | None
) -> dict[str, Any] | None:
    with open_dealer(context or zmq.Context.instance(), address, keys) as socket:
        socket.send(frame)
        if not socket.poll(int(timeout_s * 1000)):
            return None
        answer = socket.recv_multipart()[0]
    header = unpack_header(answer)
    if header.type == MessageType.ERROR:
        raise unpack_control(Failure, answer).error()
    return unpack_control(Report, answer).figures if header.type == MessageType.REPORT else None
