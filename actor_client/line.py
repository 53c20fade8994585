"""One request at a time over one socket: sent again until it is answered, whatever the network does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import zmq

from corral.protocol import ErrorCode, Failure, Header, MessageType, open_dealer, unpack_control, unpack_header
from corral.protocol.keys import Caller

LATER = (ErrorCode.NOT_READY, ErrorCode.BUSY, ErrorCode.DRAINING)
"""Refusals after which the same request may be granted a little later."""
NAP_S = 0.2
"""Most seconds of one wait, so that a stop is noticed."""


class UnansweredError(TimeoutError):
    """Nobody answered in time. The text says who was asked, and what to look at."""


class Awaited(Protocol):
    """What can be waited for."""

    @property
    def socket(self) -> zmq.SyncSocket:
        """Where the answer arrives."""
        ...

    @property
    def due(self) -> float:
        """When there is something to do, answer or none: a reading of `time.monotonic`."""
        ...


def wait(awaited: Iterable[Awaited]) -> None:
    """Until something has arrived at one of them, or is due at one, or `NAP_S` have passed.

    Their sockets must be of one context.
    """
    sockets, due = [], math.inf
    for each in awaited:
        sockets.append((each.socket, zmq.POLLIN))
        due = min(due, each.due)
    nap_s = max(min(due - time.monotonic(), NAP_S), 0.0)
    zmq.zmq_poll(sockets, int(nap_s * 1000) + 1)


class Line:
    """A DEALER that asks one thing at a time. Belongs to one thread.

    Args:
      address: the server's.
      resend_after_s: silence after which a request is sent again, under the same sequence number.
      give_up_after_s: silence after which `UnansweredError` is raised; 0 waits for ever.
      keys: where the server has keys.
      stopping: asked now and then while waiting; True raises `UnansweredError` at once.

    Attributes:
      socket: where answers arrive; another one after every call, perhaps.
      due: when `answer` has something to do without one: a reading of `time.monotonic`.
      asked: when the latest request was sent first, as such a reading.
    """

    def __init__(
        self,
        context: zmq.SyncContext,
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
        self._frames: Sequence[bytes | memoryview] = ()
        self._request: tuple[int, int] | None = None
        self.asked = 0.0
        self.due = math.inf
        self.socket = open_dealer(context, address, keys)

    def ask(self, frames: Sequence[bytes | memoryview], session: int, sequence: int) -> tuple[Header, bytes]:
        """Send a request and wait for its answer, as `answer` has it."""
        self.send(frames, session, sequence)
        while True:
            wait((self,))
            if (answer := self.answer()) is not None:
                return answer

    def send(self, frames: Sequence[bytes | memoryview], session: int, sequence: int) -> None:
        """Send a request, in place of any other that is under way."""
        self._frames, self._request = frames, (session, sequence)
        self.asked = time.monotonic()
        self._send()

    def answer(self) -> tuple[Header, bytes] | None:
        """What has been answered; None where nothing is here. Never waits; sends the request again when it is due.

        Returns:
          header and whole frame of the answer whose session and sequence are the request's.

        Raises:
          ProtocolError: the server answered ERROR.
          UnansweredError: it did not answer for too long, or the line was told to stop.
        """
        while True:
            try:
                frame = self.socket.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            header = unpack_header(frame)
            if (header.session, header.sequence) != self._request:
                continue  # the answer to an earlier try, or to an earlier request that was sent twice
            self._forget()
            if header.type == MessageType.ERROR:
                raise unpack_control(Failure, frame).error()
            return header, frame
        if self._request is not None:
            self._check_patience()
            if time.monotonic() >= self.due:
                self._send()
        return None

    def tell(self, frame: bytes) -> None:
        """Send a message that nobody answers; lost where the queue is full."""
        try:
            self.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket; what was told last may still leave within `linger_ms`."""
        self.socket.close(linger_ms)

    def _forget(self) -> None:
        self._frames, self._request, self.due = (), None, math.inf

    def _send(self) -> None:
        self.due = time.monotonic() + self._resend_after_s
        try:
            self.socket.send_multipart(self._frames, zmq.NOBLOCK, copy=True)
        except zmq.Again:
            # The queue is full of earlier tries: no server has been there for long. A new socket forgets them.
            self.socket.close(0)
            self.socket = open_dealer(self._context, self._address, self._keys)

    def _check_patience(self) -> None:
        waited = time.monotonic() - self.asked
        if self._stopping():
            raise UnansweredError("stopped while waiting for an answer")
        if 0 < self._give_up_after_s <= waited:
            raise UnansweredError(
                f"no answer from {self._address} for {waited:.1f} s: does a server run there, at this address? "
                f"One with keys answers nobody {'whose keys it does not know' if self._keys else 'without'}"
            )
