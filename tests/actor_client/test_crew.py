"""An actor in parts, against a server that is played by hand: it answers whom it wants."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zmq

from actor_client import ActorSession, ActorSettings, EnvironmentSettings, run_actor, wait
from corral.protocol import (
    HEADER_BYTES,
    ROW,
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    RowFlags,
    TensorSpec,
    Welcome,
    open_router,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
    unpack_header,
)

OUTPUT = {"action": TensorSpec((), "int64", 0, 4)}
FIRST = 10
"""The run-wide number of the actor's first environment."""


@dataclass
class Request:
    """What came in: who sent it, its header, and its first frame."""

    routing: bytes
    header: Header
    frame: bytes

    @property
    def rows(self) -> np.ndarray:
        """The row table of a STEP."""
        return np.frombuffer(self.frame[HEADER_BYTES:], ROW)


class Played:
    """The server's end."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self._socket = open_router(context, address)

    def receive(self, *types: MessageType) -> Request:
        """The next request of these kinds."""
        while True:
            assert self._socket.poll(10_000), "nothing came"
            routing, frame, *_ = self._socket.recv_multipart()
            header = unpack_header(frame)
            if header.type in types:
                return Request(routing, header, frame)

    def welcome(self, hello: Request, token: int, lease_s: float = 10.0) -> Hello:
        """Open a session; what the actor said of itself."""
        told = unpack_control(Hello, hello.frame)
        granted = Welcome(
            version=1,
            session=token,
            first_environment=max(told.first_environment, 0),
            observation=told.observation,
            output=spec_to_wire(OUTPUT),
            max_rows=16,
            lease_s=lease_s,
            policy_version=1,
            cursor=0,
            window=1,
        )
        self._send(hello, pack_control(MessageType.WELCOME, hello.header.session, hello.header.sequence, granted))
        return told

    def act(self, step: Request) -> None:
        """Answer a STEP."""
        rows = step.header.rows
        head = pack_header(MessageType.ACTIONS, step.header.session, step.header.sequence, rows)
        self._send(step, head + struct.pack("<Q", 7) + bytes(8 * rows))

    def refuse(self, step: Request, code: ErrorCode) -> None:
        """Answer it with an error."""
        failure = Failure(str(code), "as the test has it")
        self._send(step, pack_control(MessageType.ERROR, step.header.session, step.header.sequence, failure))

    def no_step_comes(self) -> bool:
        """Whether no STEP is here for a while."""
        while self._socket.poll(100):
            _, frame, *_ = self._socket.recv_multipart()
            if unpack_header(frame).type == MessageType.STEP:
                return False
        return True

    def close(self) -> None:
        self._socket.close(0)

    def _send(self, request: Request, frame: bytes) -> None:
        self._socket.send_multipart([request.routing, frame])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Played]:
    with zmq.Context() as context:
        played = Played(context, f"ipc://{tmp_path}/s")
        yield played
        played.close()


@pytest.fixture
def told(server: Played, tmp_path: Path) -> Iterator[list[bool]]:
    """What an actor of five environments in two parts says of its sessions, while it runs."""
    stop = threading.Event()
    said: list[bool] = []
    actor = threading.Thread(
        target=run_actor,
        args=(
            EnvironmentSettings("tests.support.scripted_environment:ScriptedEnvironment"),
            ActorSettings(environments=5, pipeline=2, resend_after_s=60),
            f"ipc://{tmp_path}/s",
        ),
        kwargs={"first_environment": FIRST, "stopping": stop.is_set, "on_session": said.append},
    )
    actor.start()
    yield said
    stop.set()
    actor.join(20)
    assert not actor.is_alive()
    assert said[-1] is False


def joined(server: Played) -> list[Request]:
    """Welcome both parts, and what each of them wants first."""
    hellos = [server.receive(MessageType.HELLO) for _ in range(2)]
    numbers = {}
    for hello in hellos:
        told = unpack_control(Hello, hello.frame)
        numbers[told.first_environment] = told.environments
        server.welcome(hello, token=told.first_environment)
    assert numbers == {FIRST: 2, FIRST + 2: 3}
    steps = [server.receive(MessageType.STEP) for _ in range(2)]
    assert all((step.rows["flags"] == RowFlags.FIRST).all() for step in steps)
    return sorted(steps, key=lambda step: step.header.session)


def test_one_part_is_stepped_while_another_waits(server: Played, told: list[bool]) -> None:
    first, second = joined(server)
    for sequence in range(1, 5):
        assert (second.header.session, second.header.sequence, second.header.rows) == (FIRST + 2, sequence, 3)
        server.act(second)
        second = server.receive(MessageType.STEP)
    assert told == [True]
    server.act(first)
    again = server.receive(MessageType.STEP)
    assert (again.header.session, again.header.sequence, again.header.rows) == (FIRST, 2, 2)
    assert (again.rows["reward"] == 1).all()  # the first step of the first episode
    assert server.no_step_comes()


def test_a_part_joins_again_while_another_is_stepped(server: Played, told: list[bool]) -> None:
    lost, kept = joined(server)
    server.act(lost)
    lost = server.receive(MessageType.STEP)
    server.refuse(lost, ErrorCode.EXPIRED)
    hello = server.receive(MessageType.HELLO)
    assert unpack_control(Hello, hello.frame).first_environment == FIRST
    for _ in range(3):
        server.act(kept)
        kept = server.receive(MessageType.STEP)
    assert (kept.header.session, kept.header.sequence) == (FIRST + 2, 4)
    assert told == [True, False]

    server.refuse(hello, ErrorCode.BUSY)
    again = server.receive(MessageType.HELLO)
    assert (again.header.session, again.header.sequence) == (hello.header.session, 2)
    server.welcome(again, token=99)
    step = server.receive(MessageType.STEP)
    assert (step.header.session, step.header.sequence) == (99, 1)
    assert (step.rows["flags"] == RowFlags.FIRST).all()
    assert (step.rows["reward"] == 0).all()
    server.act(step)
    server.receive(MessageType.STEP)
    assert told == [True, False, True]


def test_a_welcome_that_nobody_has_looked_at_for_long_is_asked_for_again(server: Played, tmp_path: Path) -> None:
    spec = {"observation": TensorSpec((4,), "float32")}
    session = ActorSession(f"ipc://{tmp_path}/s", spec, OUTPUT["action"], ActorSettings(), environments=1)
    session.greet()
    first = server.receive(MessageType.HELLO)
    server.welcome(first, token=5, lease_s=0.0)  # whatever it is looked at, it is too late
    wait((session,))
    assert not session.welcomed()
    again = server.receive(MessageType.HELLO)
    assert (again.header.session, again.header.sequence) == (first.header.session, 2)
    server.welcome(again, token=5)
    wait((session,))
    assert session.welcomed()
    session.leave()


def test_every_part_says_goodbye(server: Played, tmp_path: Path) -> None:
    stop = threading.Event()
    actor = threading.Thread(
        target=run_actor,
        args=(EnvironmentSettings("CartPole-v1"), ActorSettings(environments=3, pipeline=3), f"ipc://{tmp_path}/s"),
        kwargs={"stopping": stop.is_set},
    )
    actor.start()
    for token in (1, 2, 3):
        server.welcome(server.receive(MessageType.HELLO), token)
    for _ in range(3):
        server.receive(MessageType.STEP)
    stop.set()
    assert {server.receive(MessageType.BYE).header.session for _ in range(3)} == {1, 2, 3}
    actor.join(20)
    assert not actor.is_alive()
