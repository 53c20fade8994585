from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import zmq

from corral.protocol import (
    AddressError,
    ErrorCode,
    Failure,
    Header,
    MessageType,
    Report,
    fetch_status,
    open_router,
    pack_control,
    unpack_header,
)

Answer = Callable[[Header], bytes]


@pytest.fixture
def answering() -> Iterator[Callable[[Answer], str]]:
    """`answering(answer)`: an address where one request gets `answer(header)`."""
    context = zmq.Context()
    threads = []

    def answering(answer: Answer) -> str:
        socket = open_router(context, "tcp://127.0.0.1:*")

        def serve() -> None:
            with socket:
                routing, frame = socket.recv_multipart()
                socket.send_multipart([routing, answer(unpack_header(frame))])

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    yield answering
    for thread in threads:
        thread.join(10)
    context.term()


def test_the_figures_arrive(answering: Callable[[Answer], str]) -> None:
    figures = {"role": "server", "rows": 12, "errors": {"SPEC": 1}, "rate": 1.5, "last": ["a"], "ready": True}

    def answer(header: Header) -> bytes:
        assert header.type == MessageType.STATUS
        return pack_control(MessageType.REPORT, 0, header.sequence, Report(figures))

    assert fetch_status(answering(answer), timeout_s=10) == figures


@pytest.mark.parametrize(
    "frame",
    [
        pack_control(MessageType.ERROR, 0, 0, Failure(ErrorCode.UNKNOWN_TYPE, "not here")),
        pack_control(MessageType.REPORT, 0, 0) + b"\xc1",
        pack_control(MessageType.REPORT, 0, 0, Failure("no", "report")),
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_whatever_else_is_answered_is_no_status(answering: Callable[[Answer], str], frame: bytes) -> None:
    assert fetch_status(answering(lambda _: frame), timeout_s=10) is None


def test_nobody_there_is_no_status() -> None:
    with zmq.Context() as context:
        socket = open_router(context, "tcp://127.0.0.1:*")
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        socket.close()
        assert fetch_status(address, timeout_s=0.01, context=context) is None


def test_a_malformed_address_is_told() -> None:
    with pytest.raises(AddressError, match="tcp://HOST:PORT"):
        fetch_status("127.0.0.1:5555")
