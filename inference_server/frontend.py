"""The actors' socket: whole messages in, frame by frame and without copies, replies out."""

from __future__ import annotations

import logging

import zmq

from corral.protocol import (
    ErrorCode,
    Failure,
    MessageType,
    ProtocolError,
    open_router,
    pack_control,
    remove_socket_file,
)
from corral.protocol.keys import Gate
from corral.protocol.limits import MAX_TEXT, QUEUED_ANSWERS, QUEUED_REQUESTS
from corral.protocol.sockets import head_of
from inference_server.rows import Rows

log = logging.getLogger(__name__)

LINGER_MS = 500
"""Milliseconds for which the last answers may take to leave: to a peer that reads nothing they never do."""

_NOBLOCK = int(zmq.NOBLOCK)
_FIRST_OF_TWO = int(zmq.NOBLOCK | zmq.SNDMORE)


class Frontend:
    """A bound ROUTER, read without blocking. One thread owns it.

    A message is read as `begin()`, then one `read_into()` per frame that its header promises, then `end()`.
    ZeroMQ hands over a multipart message whole or not at all, so that reading one never waits.

    Everything here happens once a message, so its cost is counted: a frame received with its "more" flag takes
    0.9 us, asking the socket for that flag 1.0 us, `send` without the checks of pyzmq's Python layer 0.25 us
    instead of 0.6 (benchmarks/DATA_PLANE.md).

    Attributes:
      key: whose key the begun message came under; empty where there are no keys.
      dropped: answers that were dropped because their peer reads none.
    """

    def __init__(self, context: zmq.SyncContext, address: str, *, insecure: bool, gate: Gate | None = None) -> None:
        self._gate = gate
        self._socket = open_router(
            context, address, insecure=insecure, gate=gate, queued_in=QUEUED_REQUESTS, queued_out=QUEUED_ANSWERS
        )
        # Told, rather than hidden, whom an answer did not reach: what nobody reads is counted.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.dropped = 0
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._recv = self._socket.recv
        # The class below `zmq.Socket`: the same method, without arguments that only other kinds of sockets take.
        self._send = super(zmq.Socket, self._socket).send
        self._more = False
        self.key = ""

    @property
    def fileno(self) -> int:
        """The descriptor that signals news; edge-triggered, see `pending`."""
        return int(self._socket.getsockopt(zmq.FD))

    def pending(self) -> bool:
        """Whether a message can be read now. Ask before waiting on `fileno`: its signal is given once only."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def begin(self) -> tuple[bytes, bytes] | None:
        """The return address and first frame of the next message, or None where none waits."""
        try:
            routing = self._recv(_NOBLOCK)
        except zmq.Again:
            return None
        frame = self._recv(0, False)
        self._more = frame.more
        if self._gate is not None:
            self.key = str(frame.get("User-Id"))
        return routing, head_of(frame)

    def read_into(self, rows: Rows, start: int, stop: int) -> None:
        """Receive the next frame into rows `start` to `stop`, byte for byte.

        Raises:
          ProtocolError: SPEC where there is no frame, or one of another length.
        """
        if not self._more:
            raise rows.missing()
        frame = self._recv(0, False)
        self._more = frame.more
        size = rows.row_bytes
        try:
            rows.memory[start * size : stop * size] = frame.buffer
        except ValueError:
            raise rows.misfit(stop - start, len(frame)) from None

    def end(self) -> None:
        """Raises `ProtocolError` (MALFORMED) where frames are left that no header promised."""
        if self._more:
            raise ProtocolError(ErrorCode.MALFORMED, "the message has more frames than its header promises")

    def discard(self) -> None:
        """Skip what is left of the begun message."""
        while self._more:
            self._more = self._recv(0, False).more

    def send(self, routing: bytes, frame: bytes) -> None:
        """Send a reply. A peer that has gone, or reads nothing, loses it: its resend finds the kept reply."""
        try:
            self._send(routing, _FIRST_OF_TWO)
            self._send(frame, _NOBLOCK)
        except zmq.Again:
            self.dropped += 1
        except zmq.ZMQError as error:
            log.debug("a reply was dropped: %s", error)

    def send_error(self, routing: bytes, session: int, sequence: int, error: ProtocolError) -> None:
        """Answer request `sequence` with an ERROR."""
        body = Failure(error.code, error.text[:MAX_TEXT])
        self.send(routing, pack_control(MessageType.ERROR, session, sequence, body))

    def close(self) -> None:
        """Close the socket, once its last answers have left, and remove its file, if it has one."""
        if self._gate is not None:
            self._gate.close()
        self._socket.close(LINGER_MS)
        remove_socket_file(self.address)
