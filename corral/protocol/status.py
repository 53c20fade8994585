"""Asking a server or a learner how it does (docs/protocol.md, "Status")."""

from __future__ import annotations

from typing import Any

import zmq

from corral.protocol.control import Report, unpack_control
from corral.protocol.errors import ProtocolError
from corral.protocol.header import MessageType, pack_header, unpack_header
from corral.protocol.sockets import open_dealer


def fetch_status(address: str, timeout_s: float = 1.0, context: zmq.Context | None = None) -> dict[str, Any] | None:
    """The figures of the server or learner at `address`, or None where nothing answers within `timeout_s`.

    Raises:
      AddressError: the address is malformed.
    """
    with open_dealer(context or zmq.Context.instance(), address) as socket:
        socket.send(pack_header(MessageType.STATUS, 0, 0))
        if not socket.poll(int(timeout_s * 1000)):
            return None
        frame = socket.recv_multipart()[0]
    try:
        if unpack_header(frame).type != MessageType.REPORT:
            return None
        return unpack_control(Report, frame).figures
    except ProtocolError:
        return None
