"""One request at a time over one socket: sent again until it is answered, whatever the network does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import zmq

from corral.protocol import ErrorCode, Failure, Header, MessageType, open_dealer, unpack_control, unpack_header
from corral.protocol.keys import Caller

LATER = (ErrorCode.NOT_READY, ErrorCode.BUSY, ErrorCode.DRAINING)
"""Refusals after which the same request may be granted a little later."""


class UnansweredError(TimeoutError):
    """Nobody answered in time. The text says who was asked, and what to look at."""


class Line:
    """A DEALER that asks and waits. Belongs to one thread.

    Args:
      address: the server's.
      resend_after_s: silence after which a request is sent again, under the same sequence number.
      give_up_after_s: silence after which `UnansweredError` is raised; 0 waits for ever.
      keys: where the server has keys.
      stopping: asked now and then while waiting; True raises `UnansweredError` at once.
    """

    def __init__(
        self,
        context: zmq.Context,
        address: str,
        *,
        resend_after_s: float,
        give_up_after_s: float,
        keys: Caller | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._keys = keys
        self._context = context
        self._address = address
        self._resend_after_s = resend_after_s
        self._give_up_after_s = give_up_after_s
        self._stopping = stopping
        self._socket = open_dealer(context, address, keys)

    def ask(self, frames: Sequence[bytes | memoryview], session: int, sequence: int) -> tuple[Header, bytes]:
        """Send a request and wait for its answer.

        Returns:
          header and whole frame of the answer whose session and sequence are the request's.

        Raises:
          ProtocolError: the server answered ERROR.
          UnansweredError: it did not answer.
        """
        started = time.monotonic()
        while True:
            self._send(frames)
            answer = self._await((session, sequence), time.monotonic() + self._resend_after_s, started)
            if answer is not None:
                return answer

    def tell(self, frame: bytes) -> None:
        """Send a message that nobody answers; lost where the queue is full."""
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket; what was told last may still leave within `linger_ms`."""
        self._socket.close(linger_ms)

    def _send(self, frames: Sequence[bytes | memoryview]) -> None:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=True)
        except zmq.Again:
            # The queue is full of earlier tries: no server has been there for long. A new socket forgets them.
            self._socket.close(0)
            self._socket = open_dealer(self._context, self._address, self._keys)

    def _await(self, request: tuple[int, int], deadline: float, started: float) -> tuple[Header, bytes] | None:
        while (remaining := deadline - time.monotonic()) > 0:
            # Short naps, so that a stop is noticed.
            if not self._socket.poll(int(min(remaining, 0.2) * 1000) + 1):
                self._check_patience(started)
                continue
            frame = self._socket.recv_multipart()[0]
            header = unpack_header(frame)
            if (header.session, header.sequence) != request:
                continue  # the answer to an earlier try, or to an earlier request that was sent twice
            if header.type == MessageType.ERROR:
                raise unpack_control(Failure, frame).error()
            return header, frame
        return None

    def _check_patience(self, started: float) -> None:
        waited = time.monotonic() - started
        if self._stopping():
            raise UnansweredError("stopped while waiting for an answer")
        if 0 < self._give_up_after_s <= waited:
            raise UnansweredError(
                f"no answer from {self._address} for {waited:.1f} s: does a server run there, at this address? "
                f"One with keys answers nobody {'whose keys it does not know' if self._keys else 'without'}"
            )
