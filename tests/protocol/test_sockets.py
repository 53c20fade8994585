from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from corral.protocol import AddressError, is_private, open_dealer, open_router, remove_socket_file
from corral.protocol.limits import MAX_CONTROL_BYTES, MAX_PARTS
from corral.protocol.sockets import head_of, receive_parts

ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket, which pytest's own may not have."""
    folder = Path(tempfile.mkdtemp(prefix="corral-"))
    yield folder
    shutil.rmtree(folder)


def endpoint(socket: zmq.Socket) -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def refusal(opener, context: zmq.Context, address: str, **options: bool) -> str:
    with pytest.raises(AddressError) as caught:
        opener(context, address, **options)
    text = str(caught.value)
    assert address in text
    return text


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_message_goes_there_and_back(context: zmq.Context, folder: Path, transport: str) -> None:
    router = open_router(context, ANY_PORT if transport == "tcp" else f"ipc://{folder}/s")
    dealer = open_dealer(context, endpoint(router))
    dealer.send_multipart([b"ask", b"more"])
    assert router.poll(10_000)
    routing, *frames = router.recv_multipart()
    assert frames == [b"ask", b"more"]
    router.send_multipart([routing, b"answer"])
    assert dealer.poll(10_000)
    assert dealer.recv() == b"answer"


def test_queues_are_bounded_and_nothing_lingers(context: zmq.Context) -> None:
    for opened in (open_router(context, ANY_PORT), open_dealer(context, "tcp://127.0.0.1:1")):
        assert opened.getsockopt(zmq.LINGER) == 0
        assert 0 < opened.getsockopt(zmq.SNDHWM) <= 4096
        assert 0 < opened.getsockopt(zmq.RCVHWM) <= 4096
        assert opened.getsockopt(zmq.MAXMSGSIZE) == 2**30


def test_a_reply_to_nobody_is_dropped(context: zmq.Context) -> None:
    open_router(context, ANY_PORT).send_multipart([b"nobody", b"x"], zmq.NOBLOCK)


def test_a_port_in_use_says_so(context: zmq.Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = refusal(open_router, context, f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert "in use" in text
    assert "choose another" in text


def test_a_socket_file_in_use_says_so_and_stays_with_its_owner(context: zmq.Context, folder: Path) -> None:
    address = f"ipc://{folder}/s"
    owner = open_router(context, address)
    assert "in use" in refusal(open_router, context, address)
    dealer = open_dealer(context, address)
    dealer.send(b"still there?")
    assert owner.poll(10_000)


def test_a_socket_file_left_by_a_crash_is_taken_over(context: zmq.Context, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(f"{folder}/s")
    assert os.path.exists(f"{folder}/s")
    open_router(context, f"ipc://{folder}/s")


def test_an_abstract_address_in_use_says_so(context: zmq.Context) -> None:
    address = f"ipc://@corral-test-{os.getpid()}"
    held = open_router(context, address)
    assert "in use" in refusal(open_router, context, address)
    held.close()


@pytest.mark.parametrize("address", ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://10.1.2.3:5555", "tcp://eth0:5555"])
def test_what_others_can_reach_needs_insecure(context: zmq.Context, address: str) -> None:
    text = refusal(open_router, context, address)
    assert "other machines" in text
    assert "--insecure" in text


def test_insecure_listens_where_others_can_reach_it(context: zmq.Context) -> None:
    assert endpoint(open_router(context, "tcp://0.0.0.0:*", insecure=True)).startswith("tcp://0.0.0.0:")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("ipc:///tmp/x", True),
        ("inproc://x", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.9.9.9:1", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://192.168.0.1:1", False),
        ("tcp://127.0.0.1.example.org:1", False),
        ("tcp://localhost.example.org:1", False),
        ("tcp://[::]:1", False),
        ("tcp://[::1:1", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_what_is_private(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.parametrize("opener", [open_router, open_dealer])
@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("", "tcp://HOST:PORT"),
        ("nonsense", "tcp://HOST:PORT"),
        ("127.0.0.1:5555", "tcp://HOST:PORT"),
        ("tcp://", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1", "tcp://HOST:PORT"),
        ("tcp://:5555", "tcp://HOST:PORT"),
        ("tcp://[::1:5555", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:", "0 to 65535"),
        ("tcp://127.0.0.1:http", "0 to 65535"),
        ("tcp://127.0.0.1:70000", "0 to 65535"),
        ("tcp://127.0.0.1:-1", "0 to 65535"),
        ("tcp://127.0.0.1:5555/path", "0 to 65535"),
        ("ipc://", "ipc://PATH"),
        ("http://127.0.0.1:80", "unknown transport"),
        ("udp://127.0.0.1:5555", "unknown transport"),
        (f"ipc:///tmp/{'x' * 200}", "too long"),
    ],
)
def test_a_malformed_address_says_what_to_write(opener, context: zmq.Context, address: str, advice: str) -> None:
    assert advice in refusal(opener, context, address)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("ipc:///no/such/folder/socket", "no such folder"),
        ("tcp://203.0.113.7:5555", "no such address"),
        ("tcp://no-such-host:5555", "no such interface"),
    ],
)
def test_an_address_that_is_not_here_says_so(context: zmq.Context, address: str, advice: str) -> None:
    assert advice in refusal(open_router, context, address, insecure=True)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:*", "tcp://*:5555"])
def test_nobody_can_connect_to_a_wildcard(context: zmq.Context, address: str) -> None:
    assert "tcp://HOST:PORT" in refusal(open_dealer, context, address)


def test_a_socket_file_is_removed_and_nothing_else(folder: Path) -> None:
    (folder / "s").touch()
    remove_socket_file(f"ipc://{folder}/s")
    assert list(folder.iterdir()) == []
    for address in (f"ipc://{folder}/s", "ipc://@abstract", "tcp://127.0.0.1:5555"):
        remove_socket_file(address)


def test_a_first_frame_is_copied_no_further_than_it_can_be_one() -> None:
    assert head_of(zmq.Frame(b"CR")) == b"CR"
    assert head_of(zmq.Frame(bytes(MAX_CONTROL_BYTES))) == bytes(MAX_CONTROL_BYTES)
    assert len(head_of(zmq.Frame(bytes(100 * MAX_CONTROL_BYTES)))) == MAX_CONTROL_BYTES + 1


def test_a_message_is_read_whole_and_kept_as_far_as_it_may_reach() -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as here, context.socket(zmq.PAIR) as there:
        here.bind("inproc://parts")
        there.connect("inproc://parts")
        for parts in (1, MAX_PARTS, MAX_PARTS + 5, 2):
            there.send_multipart([b"x"] * parts)
        received = []
        while (frames := receive_parts(here)) is not None:
            received.append(len(frames))
        assert received == [1, MAX_PARTS, MAX_PARTS, 2]
