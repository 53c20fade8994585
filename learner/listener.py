"""What both of the learner's ends are: a bound socket, and a thread that owns it and answers whatever comes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from corral.protocol import (
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    open_router,
    pack_control,
    remove_socket_file,
    unpack_header,
)
from corral.protocol.keys import Gate, Role
from corral.protocol.limits import QUEUED_MESSAGES
from corral.protocol.sockets import head_of, receive_parts
from corral.protocol.sparing_log import SparingLog
from corral.protocol.waker import Waker
from corral.telemetry.tracer import span

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
"""Seconds between two looks at the keys that are admitted."""
LINGER_MS = 200
"""Milliseconds for which the last words may take to leave."""
TURN_MESSAGES = 256
"""Messages handled until what they brought is worked on."""
MAX_SERVERS = 1024
"""Servers that either end knows at a time: every restart of a server is a new one, and anybody can greet."""


def check_server(hello: Hello) -> None:
    """Raises `ProtocolError` for a greeting of another version (VERSION), or of no server (MALFORMED)."""
    hello.check_version()
    if hello.role != "server":
        raise ProtocolError(ErrorCode.MALFORMED, f'a learner greets "server", not {hello.role!r}')


class Listener:
    """A ROUTER and its thread. Subclasses say what a message means, and what there is to do after messages.

    A message that cannot be honoured is answered with ERROR; nothing that is sent here ends the thread.

    Attributes:
      refused: connections that were turned away for their keys.

    Raises:
      AddressError: the address cannot be listened on.
      KeysError: the keys cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        insecure: bool,
        keys: Path | str | None,
        queued_out: int = QUEUED_MESSAGES,
    ) -> None:
        self._gate = Gate(keys, Role.LEARNER) if keys else None
        self._context = zmq.Context()
        self._socket = open_router(
            self._context, address, insecure=insecure, gate=self._gate, queued_out=queued_out
        )
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._waker = Waker()
        self._complaints = SparingLog(log)
        self._stopping = False
        self._thread = threading.Thread(target=self._listen, name=name, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def refused(self) -> int:
        return self._gate.refused if self._gate is not None else 0

    def close(self) -> None:
        """Stop listening; the address is free when this returns."""
        self._stopping = True
        self._waker.wake()
        self._thread.join(5)

    def _handle(self, routing: bytes, header: Header, head: bytes, frames: list[zmq.Frame]) -> None:
        """Do what a message asks. `frames` are those behind the first. Raises `ProtocolError`."""
        raise NotImplementedError

    def _work(self) -> None:
        """What there is to do once messages have been handled, or `_waker` was woken."""
        raise NotImplementedError

    def _part(self) -> None:
        """Say what there is to say before the socket is closed."""

    def _listen(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker, zmq.POLLIN)
        look_at = 0.0
        try:
            while not self._stopping:
                self._nap(poller)
                self._waker.clear()
                if self._gate is not None and time.monotonic() >= look_at:
                    self._gate.look_again()
                    look_at = time.monotonic() + LOOK_EVERY_S
                self._receive_some()
                self._work()
        finally:
            self._part()
            if self._gate is not None:
                self._gate.close()
            self._socket.close(LINGER_MS)
            remove_socket_file(self.address)
            self._context.destroy(linger=0)
            self._waker.close()

    @span("wait")
    def _nap(self, poller: zmq.Poller) -> None:
        poller.poll(1000)

    @span("receive")
    def _receive_some(self) -> None:
        """Handle what has come. Not all of it, where it is much, or costly: somebody may send for ever."""
        for _ in range(TURN_MESSAGES):
            parts = receive_parts(self._socket)
            if parts is None or not self._receive(*parts) or self._stopping:
                return

    def _receive(self, address: zmq.Frame, *frames: zmq.Frame) -> bool:
        """Handle a message. Whether it could be honoured."""
        routing, header = address.bytes, None
        try:
            head = head_of(frames[0])
            header = unpack_header(head)
            if self._gate is not None and not self._gate.check(str(frames[0].get("User-Id")), header.type):
                return False
            self._handle(routing, header, head, list(frames[1:]))
        except ProtocolError as error:
            self._complaints.say(logging.WARNING, "from a server: %s", error)
            self._fail(routing, header, error)
            return False
        except Exception:
            log.exception("a message failed")
            self._fail(routing, header, ProtocolError(ErrorCode.INTERNAL, "a defect; see the log"))
            return False
        return True

    def _fail(self, routing: bytes, header: Header | None, error: ProtocolError) -> None:
        session, sequence = (header.session, header.sequence) if header else (0, 0)
        failure = Failure(error.code, error.text)
        self._send(routing, [pack_control(MessageType.ERROR, session, sequence, failure)])

    def _send(self, routing: bytes, frames: Sequence[bytes | memoryview]) -> None:
        try:
            self._socket.send_multipart([routing, *frames], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            log.debug("a message was dropped: %s", error)
