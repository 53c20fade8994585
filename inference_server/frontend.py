"""The actors' socket: whole messages in, frame by frame and without copies, replies out."""

from __future__ import annotations

import logging

import numpy as np
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
from corral.protocol.limits import MAX_TEXT

log = logging.getLogger(__name__)


class Frontend:
    """A bound ROUTER, read without blocking. One thread owns it.

    A message is read as `begin()`, then one `read_into()` per frame that its header promises, then `end()`.
    ZeroMQ hands over a multipart message whole or not at all, so that reading one never waits.
    """

    def __init__(self, context: zmq.Context, address: str, *, insecure: bool) -> None:
        self._socket = open_router(context, address, insecure=insecure)
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

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
            routing = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return routing, self._socket.recv()

    @property
    def more(self) -> bool:
        """Whether frames of the begun message are left."""
        return bool(self._socket.getsockopt(zmq.RCVMORE))

    def read_into(self, rows: np.ndarray, name: str) -> None:
        """Receive the next frame into `rows`, byte for byte.

        Raises:
          ProtocolError: SPEC where there is no frame, or one of another length.
        """
        if not self.more:
            raise ProtocolError(ErrorCode.SPEC, f"the frame of {name!r} is missing")
        # numpy casts no empty view to bytes.
        received = self._socket.recv_into(rows.data.cast("B")) if rows.nbytes else len(self._socket.recv())
        if received != rows.nbytes:
            raise ProtocolError(
                ErrorCode.SPEC,
                f"{name!r} takes {rows.dtype}{list(rows.shape)}, {rows.nbytes} bytes; the frame has {received}",
            )

    def end(self) -> None:
        """Raises `ProtocolError` (MALFORMED) where frames are left that no header promised."""
        if self.more:
            raise ProtocolError(ErrorCode.MALFORMED, "the message has more frames than its header promises")

    def discard(self) -> None:
        """Skip what is left of the begun message."""
        while self.more:
            self._socket.recv(copy=False)

    def send(self, routing: bytes, frame: bytes) -> None:
        """Send a reply. A peer that has gone, or reads nothing, loses it: its resend finds the kept reply."""
        try:
            self._socket.send_multipart((routing, frame), zmq.NOBLOCK, copy=True)
        except zmq.ZMQError as error:
            log.debug("a reply was dropped: %s", error)

    def send_error(self, routing: bytes, session: int, sequence: int, error: ProtocolError) -> None:
        """Answer request `sequence` with an ERROR."""
        body = Failure(error.code, error.text[:MAX_TEXT])
        self.send(routing, pack_control(MessageType.ERROR, session, sequence, body))

    def close(self) -> None:
        """Close the socket and remove its file, if it has one."""
        self._socket.close()
        remove_socket_file(self.address)
