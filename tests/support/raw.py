"""A bare socket that says exactly what the test wants, and hears exactly what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import zmq

from corral.protocol import Failure, Header, MessageType, open_dealer, unpack_control, unpack_header


class RawPeer:
    """A DEALER connected to `address`, without any manners."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = open_dealer(self._context, address)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close(0)
        self._context.term()

    def send(self, *frames: bytes | memoryview) -> None:
        """Send one message."""
        self._socket.send_multipart(frames)

    def receive(self, timeout_s: float = 20) -> list[bytes]:
        """The next message. Raises `TimeoutError` where none comes."""
        if not self._socket.poll(int(timeout_s * 1000)):
            raise TimeoutError("no answer")
        return self._socket.recv_multipart()

    def ask(self, *frames: bytes | memoryview) -> tuple[Header, list[bytes]]:
        """Send a message; header and frames of what comes back."""
        self.send(*frames)
        answer = self.receive()
        return unpack_header(answer[0]), answer

    def refusal(self, *frames: bytes | memoryview) -> Failure:
        """Send a message that must be answered with ERROR; its body."""
        header, answer = self.ask(*frames)
        assert header.type == MessageType.ERROR, MessageType(header.type)
        return unpack_control(Failure, answer[0])

    def silent(self, *, fence: Sequence[bytes] = ()) -> bool:
        """Whether nothing has been answered before the answer to `fence`, a STATUS request by default."""
        from corral.protocol import pack_header

        header, _ = self.ask(*(fence or [pack_header(MessageType.STATUS, 0, 0)]))
        return header.type == MessageType.REPORT


def body(kind: type[Any], frames: list[bytes]) -> Any:
    """The control body in the first frame."""
    return unpack_control(kind, frames[0])
