"""The scout's thread among servers that are played by hand, without keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from actor_client.scout import Scout
from corral.protocol import (
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    Welcome,
    pack_control,
    unpack_control,
    unpack_header,
)
from tests.support.processes import until


class PlayedServer(threading.Thread):
    """Answers every greeting with its load, with a refusal, or not at all."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.taken: int | None = 0
        self.refusal: ErrorCode | None = None
        self.roles: list[str] = []
        self._address = address
        self._ended = threading.Event()

    def __enter__(self) -> PlayedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(5)

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.bind(self._address)
            while not self._ended.is_set():
                if socket.poll(20):
                    routing, frame = socket.recv_multipart()
                    self.roles.append(unpack_control(Hello, frame).role)
                    if (answer := self._answer(frame)) is not None:
                        socket.send_multipart([routing, answer])

    def _answer(self, frame: bytes) -> bytes | None:
        header = unpack_header(frame)
        if self.refusal is not None:
            failure = Failure(self.refusal, "not now")
            return pack_control(MessageType.ERROR, header.session, header.sequence, failure)
        if self.taken is None:
            return None
        welcome = Welcome(1, 0, 0, {}, {}, 64, 10.0, 1, 0, 1, taken=self.taken, slots=100)
        return pack_control(MessageType.WELCOME, header.session, header.sequence, welcome)


class Place:
    """Two played servers and their addresses."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.addresses = [f"ipc://{folder}/{name}" for name in "ab"]
        self.a, self.b = (stack.enter_context(PlayedServer(address)) for address in self.addresses)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_the_one_with_fewer_environments_is_chosen(place: Place) -> None:
    place.a.taken = 50
    with Scout(place.addresses, silent_after_s=1) as scout:
        assert until(lambda: scout.choose(4), 10, "a server") == place.addresses[1]
        assert scout.round >= 1
    assert set(place.a.roles) == {"client"}, "a question opens no session"


def test_one_without_weights_is_passed_over_once_the_other_is_there(place: Place) -> None:
    place.a.refusal = ErrorCode.NOT_READY
    place.b.taken = 90
    with Scout(place.addresses, silent_after_s=1) as scout:
        assert until(lambda: scout.choose(4), 10, "a server") == place.addresses[1]


def test_a_full_house_is_no_choice(place: Place) -> None:
    place.a.taken = place.b.taken = 98
    with Scout(place.addresses, silent_after_s=1) as scout:
        until(lambda: scout.round, 10, "a round")
        assert scout.choose(4) is None
        assert scout.choose(2) is not None


def test_who_keeps_a_session_waiting_is_asked_and_gone_only_if_silent(place: Place) -> None:
    with Scout(place.addresses, silent_after_s=0.5) as scout:
        until(lambda: scout.choose(4), 10, "a server")
        asked = time.monotonic() - 2
        assert not scout.lost(place.addresses[0], asked)  # it is asked now, and answers
        place.b.taken = None
        until(lambda: scout.lost(place.addresses[1], asked), 10, "the silent one is given up")
        assert not scout.lost(place.addresses[1], time.monotonic())  # who has only just been asked may answer
        assert not scout.lost(place.addresses[0], asked)
        assert scout.elsewhere(place.addresses[1], None)
        assert not scout.elsewhere(place.addresses[0], None)
        assert scout.elsewhere(place.addresses[0], ErrorCode.DRAINING)


def test_who_refuses_for_good_says_so_to_a_session(place: Place) -> None:
    place.a.refusal = place.b.refusal = ErrorCode.VERSION
    with Scout(place.addresses, silent_after_s=1) as scout:
        assert until(lambda: scout.choose(4), 10, "a server") in place.addresses
