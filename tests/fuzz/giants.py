"""What takes more than a message: floods of parts, connections without a word, and words that never end."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from corral.protocol import MessageType, pack_control, pack_header, unpack_header
from tests.fuzz.lines import failure_of
from tests.fuzz.stage import Peer, Stage

PARTS = 200_000
STRANGERS = 150
"""Connections of each kind to each address."""
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 1 + 31)
READY = b"\x04\x1c\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"


def giants(stage: Stage, parts: int = PARTS, strangers: int = STRANGERS) -> int:
    """All of them, at every address; how many. Raises `AssertionError` where an answer is not what it should be."""
    addresses = (stage.server, stage.unrolls, stage.weights)
    for address in addresses:
        _many_parts(stage, address, parts)
    header, frame = stage.teacher.push([pack_header(MessageType.WEIGHTS, 2**62, 1), *[b""] * parts])
    assert header.type == MessageType.ERROR
    assert failure_of(frame).code == "WEIGHTS"
    stage.teacher.say("unrolls", [pack_header(MessageType.ACCEPTED, stage.teacher.identity, 0), *[b""] * parts])
    with contextlib.ExitStack() as stack:
        for address in addresses:
            for _ in range(strangers):
                stack.enter_context(_stranger(address, GREETING[:11]))  # half a greeting
                stack.enter_context(_stranger(address, GREETING + READY))  # a handshake, and no word
                # The beginning of a message of 1 GiB less a byte, of which no more will come.
                stack.enter_context(
                    _stranger(address, GREETING + READY + b"\x02" + struct.pack(">Q", 2**30 - 1) + b"CR")
                )
        stage.check()
        for address in addresses:
            # And one that says more than any frame may hold: it is hung up on.
            with _stranger(address, GREETING + READY + b"\x02" + struct.pack(">Q", 2**40)) as line:
                assert _is_closed(line)
        for address in addresses:
            peer = Peer(stage.context, address)  # whoever comes now is served
            peer.send([pack_header(MessageType.WEIGHTS, 5, 6)])
            assert unpack_header(peer.receive()[0]).type == MessageType.ERROR
            peer.close()
    return 5 + len(addresses) * (3 * strangers + 1)


def _many_parts(stage: Stage, address: str, parts: int) -> None:
    peer = Peer(stage.context, address)
    for number, head in enumerate(
        (b"x", pack_header(MessageType.STEP, 1, 7, 1), pack_control(MessageType.HELLO, 1, 7))
    ):
        peer.send([head, *[b""] * parts])
        answer = peer.receive()[0]
        assert failure_of(answer)
        assert unpack_header(answer).sequence == (7 if number else 0)
    peer.close()


@contextlib.contextmanager
def _stranger(address: str, words: bytes) -> Iterator[socket.socket]:
    """A bare connection that has said these bytes."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address.removeprefix("ipc://"))  # waits for its turn, as it would not with a timeout
        line.settimeout(20)
        line.sendall(words)
        yield line


def _is_closed(line: socket.socket) -> bool:
    """Whether the other side hangs up, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        while line.recv(4096):
            pass
    return True
