"""Whatever anyone sends: an error to the one who sent it, and nobody else notices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from corral.protocol import (
    ENDED,
    ROW,
    ErrorCode,
    Hello,
    MessageType,
    RowFlags,
    TensorSpec,
    Welcome,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
)
from learner import UnrollSource, WeightPublisher
from tests.support.processes import process, until_serving
from tests.support.raw import RawPeer
from tests.support.scripted_agent import ScriptedAgent

OBSERVATION = {"observation": TensorSpec((4,), "int64", -1.0, float(2**62))}
ACTION = {"action": TensorSpec((), "int64", 0, 4)}
GREETING = Hello("actor", environments=2, observation=spec_to_wire(OBSERVATION), action=spec_to_wire(ACTION))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bad")
    server, unrolls, weights = (f"ipc://{folder}/{name}" for name in ("server", "unrolls", "weights"))
    with ExitStack() as stack:
        stack.enter_context(UnrollSource(unrolls, queue=10_000))
        publisher = stack.enter_context(WeightPublisher(weights))
        stack.enter_context(process("-m", "tests.support.scripted_server", server, unrolls, weights))
        publisher.publish(ScriptedAgent().weights(1))
        until_serving(server)
        yield server


class FakeActor(RawPeer):
    """An actor with two environments that can be made to say anything."""

    def __init__(self, address: str, nonce: int) -> None:
        super().__init__(address)
        self.nonce = nonce
        self.sequence = 0
        self.token = 0

    def hello(self, **changes: Any) -> bytes:
        return pack_control(MessageType.HELLO, self.nonce, 1, dataclasses.replace(GREETING, **changes))

    def join(self) -> int:
        header, frames = self.ask(self.hello())
        assert (header.type, header.session) == (MessageType.WELCOME, self.nonce)
        self.token = unpack_control(Welcome, frames[0]).session
        return self.token

    def step(
        self,
        flags: tuple[int, ...] = (RowFlags.FIRST, RowFlags.FIRST),
        *,
        environment: tuple[int, ...] = (0, 1),
        reward: float = 0.0,
        sequence: int | None = None,
        token: int | None = None,
    ) -> list[bytes]:
        """A STEP, right in every way unless told otherwise."""
        count = len(environment)
        table = np.zeros(count, ROW)
        table["flags"], table["environment"], table["reward"] = flags[:count], environment, reward
        ended = int(np.count_nonzero(table["flags"] & ENDED))
        sequence = self.sequence + 1 if sequence is None else sequence
        head = pack_header(MessageType.STEP, self.token if token is None else token, sequence, count, ended)
        rows = np.tile(np.array([7, 0, self.sequence, 0], np.int64), (count, 1))
        return [head + table.tobytes(), rows.tobytes()] + ([rows[:ended].tobytes()] if ended else [])

    def done(self, *frames: bytes) -> bytes:
        """Send a STEP that must be answered; the answer."""
        header, answer = self.ask(*frames)
        assert header.type == MessageType.ACTIONS
        self.sequence = header.sequence
        return answer[0]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bystander(address: str, stack: ExitStack) -> Iterator[FakeActor]:
    """An actor that behaves, before and after whatever the test does."""
    actor = stack.enter_context(FakeActor(address, 1000))
    actor.join()
    actor.done(*actor.step())
    yield actor
    for _ in range(3):
        actor.done(*actor.step((0, 0)))
    actor.send(pack_header(MessageType.BYE, actor.token, 0))


@pytest.fixture
def actor(address: str, stack: ExitStack) -> Iterator[FakeActor]:
    actor = stack.enter_context(FakeActor(address, 2000))
    actor.join()
    yield actor
    actor.send(pack_header(MessageType.BYE, actor.token, 0))


@pytest.mark.parametrize(
    ("frames", "code", "text"),
    [
        ([b""], ErrorCode.MALFORMED, "24 header bytes; got 0"),
        ([b"\xff" * 100], ErrorCode.MALFORMED, "begins with b'CR'"),
        ([b"CR\x09" + bytes(21)], ErrorCode.VERSION, "version 1, the message is of version 9"),
        ([b"CR\x01\xee" + bytes(20)], ErrorCode.UNKNOWN_TYPE, "no messages of type 238"),
        ([pack_header(MessageType.WEIGHTS, 0, 0), b"x"], ErrorCode.UNKNOWN_TYPE, "type 18"),
        ([pack_header(MessageType.HELLO, 0, 0)], ErrorCode.MALFORMED, "no msgpack"),
        ([pack_header(MessageType.HELLO, 0, 0) + b"\x80"], ErrorCode.MALFORMED, "has the fields"),
        ([pack_header(MessageType.HELLO, 0, 0) + b"\xc1" * 50], ErrorCode.MALFORMED, "no msgpack"),
        ([pack_header(MessageType.STEP, 12345, 1, 1)], ErrorCode.EXPIRED, "say HELLO again and reset"),
        ([pack_header(MessageType.HEARTBEAT, 12345, 1)], ErrorCode.EXPIRED, "say HELLO again"),
        ([pack_header(MessageType.INFER, 0, 1, 0)], ErrorCode.LIMIT, "1 to 16 rows, not 0"),
        ([pack_header(MessageType.INFER, 0, 1, 17), bytes(17 * 32)], ErrorCode.LIMIT, "1 to 16 rows, not 17"),
        ([pack_header(MessageType.INFER, 0, 1, 1)], ErrorCode.SPEC, "the frame of 'observation' is missing"),
        ([pack_header(MessageType.INFER, 0, 1, 1), bytes(31)], ErrorCode.SPEC, "32 bytes; the frame has 31"),
        ([pack_header(MessageType.INFER, 0, 1, 1), bytes(33)], ErrorCode.SPEC, "32 bytes; the frame has 33"),
        ([pack_header(MessageType.INFER, 0, 1, 1), bytes(32), b""], ErrorCode.MALFORMED, "more frames"),
        ([pack_header(MessageType.INFER, 0, 1, 1, 1), bytes(32)], ErrorCode.MALFORMED, "nothing else"),
        ([b"x"] * 1000, ErrorCode.MALFORMED, "24 header bytes; got 1"),
    ],
)
def test_a_bad_message_is_answered(
    address: str, bystander: FakeActor, frames: list[bytes], code: ErrorCode, text: str
) -> None:
    with RawPeer(address) as liar:
        refusal = liar.refusal(*frames)
        assert refusal.code == code
        assert text in refusal.text


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"versions": [2, 3]}, ErrorCode.VERSION, "version 1, the caller speaks [2, 3]"),
        ({"role": "spy"}, ErrorCode.MALFORMED, "not 'spy'"),
        ({"environments": 0}, ErrorCode.LIMIT, "not 0"),
        ({"environments": 17}, ErrorCode.LIMIT, "raise server.batching.max_size"),
        ({"observation": {}}, ErrorCode.SPEC, "['observation'] here and [] there"),
        (
            {"observation": spec_to_wire({"observation": TensorSpec((4,), "float32")})},
            ErrorCode.SPEC,
            "values here and float32[4] there",
        ),
        (
            {"observation": spec_to_wire({"observation": TensorSpec((5,), "int64")})},
            ErrorCode.SPEC,
            "values here and int64[5] there",
        ),
        (
            {"action": spec_to_wire({"action": TensorSpec((), "int64", 0, 6)})},
            ErrorCode.SPEC,
            "(0, 4) here and (0, 6) there",
        ),
        ({"observation": {"observation": [[4], "object", None, None]}}, ErrorCode.SPEC, "dtype 'object'"),
        ({"observation": {"observation": [[2**40], "int64", None, None]}}, ErrorCode.SPEC, "1099511627776"),
    ],
)
def test_a_greeting_that_does_not_fit_is_refused_with_both_sides(
    address: str, bystander: FakeActor, changes: dict[str, Any], code: ErrorCode, text: str
) -> None:
    with FakeActor(address, 3000) as stranger:
        refusal = stranger.refusal(stranger.hello(**changes))
        assert refusal.code == code
        assert text in refusal.text


def test_a_step_that_is_wrong_is_refused_and_the_right_one_is_done(bystander: FakeActor, actor: FakeActor) -> None:
    good = actor.step()
    for bad, code, text in (
        ([good[0][:-1], good[1]], ErrorCode.MALFORMED, "2 rows take 16 bytes behind the header; got 15"),
        ([good[0], good[1][:-8]], ErrorCode.SPEC, "64 bytes; the frame has 56"),
    ):
        refusal = actor.refusal(*bad)
        assert (refusal.code, text in refusal.text) == (code, True), refusal.text
    actor.done(*good)


@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        ({"environment": (1, 0)}, ErrorCode.MALFORMED, "must ascend"),
        ({"environment": (0, 0)}, ErrorCode.MALFORMED, "must ascend"),
        ({"environment": (0, 2)}, ErrorCode.MALFORMED, "less than 2"),
        ({"environment": (0, 1, 2), "flags": (1, 1, 1)}, ErrorCode.LIMIT, "1 to 2 rows, not 3"),
        ({"flags": (1, 0)}, ErrorCode.SEQUENCE, "must be marked FIRST"),
        ({"flags": (1, 1 | 2)}, ErrorCode.SEQUENCE, "must be marked FIRST"),
        ({"reward": np.nan}, ErrorCode.MALFORMED, "not finite"),
        ({"reward": -np.inf}, ErrorCode.MALFORMED, "not finite"),
        ({"sequence": 5}, ErrorCode.SEQUENCE, "step 5 is out of order: the last one answered is 0"),
        ({"sequence": 0}, ErrorCode.SEQUENCE, "out of order"),
    ],
)
def test_steps_that_lie(
    bystander: FakeActor, actor: FakeActor, wrong: dict[str, Any], code: ErrorCode, text: str
) -> None:
    refusal = actor.refusal(*actor.step(**wrong))
    assert refusal.code == code
    assert text in refusal.text
    actor.done(*actor.step())


def test_a_header_that_counts_ends_differently(bystander: FakeActor, actor: FakeActor) -> None:
    actor.done(*actor.step())
    head, rows = actor.step((0, 0))
    lying = pack_header(MessageType.STEP, actor.token, 2, 2, 1) + head[24:]
    assert "says that 1 rows ended, the table 0" in actor.refusal(lying, rows, rows[:32]).text
    actor.done(*actor.step((RowFlags.FIRST | RowFlags.TERMINATED, 0)))


def test_an_answered_step_is_answered_again_from_memory(bystander: FakeActor, actor: FakeActor) -> None:
    first = actor.step()
    answer = actor.done(*first)
    for _ in range(3):
        assert actor.ask(*first)[1][0] == answer
    actor.done(*actor.step((0, 0)))
    assert actor.refusal(*first).code == ErrorCode.SEQUENCE


def test_a_doubled_greeting_opens_one_session(bystander: FakeActor, actor: FakeActor) -> None:
    token = actor.token
    assert actor.join() == token


def test_three_strikes_end_a_session_and_no_other(bystander: FakeActor, actor: FakeActor) -> None:
    for _ in range(3):
        assert actor.refusal(*actor.step(reward=np.nan)).code == ErrorCode.MALFORMED
    assert actor.refusal(*actor.step()).code == ErrorCode.EXPIRED
    actor.nonce += 1
    actor.join()
    actor.done(*actor.step())


def test_a_thousand_bad_messages_in_a_row(address: str, bystander: FakeActor) -> None:
    rng = np.random.default_rng(5)
    with RawPeer(address) as liar:
        for _ in range(1000):
            frames = [rng.bytes(int(rng.integers(0, 60))) for _ in range(int(rng.integers(1, 5)))]
            if rng.random() < 0.7:
                frames[0] = b"CR\x01" + bytes([int(rng.integers(0, 24))]) + frames[0]
            liar.send(*frames)
        liar.send(pack_header(MessageType.STATUS, 0, 2**63))
        last = b""
        while last[16:24] != (2**63).to_bytes(8, "little"):
            last = liar.receive()[0]
