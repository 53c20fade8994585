"""Nonsense, sent to real servers: each gets a clear error, and nobody else notices."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
import pytest
import zmq

from actor_client import ActorSession, ActorSettings, Rows
from actor_client.answers import unpack_answer
from corral.protocol import (
    HEADER_BYTES,
    ROW,
    Command,
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    Question,
    Report,
    RowFlags,
    StepType,
    TensorSpec,
    Welcome,
    Work,
    fetch_status,
    open_dealer,
    pack_control,
    pack_header,
    spec_from_wire,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from learner import UnrollSource, WeightPublisher
from tests.inference_server.hostile_peers_server import (
    ACTION,
    ACTIONS,
    FRAGILE,
    GEARS,
    KERNEL,
    LENGTH,
    MAX_ROWS,
    OBSERVATION,
    SLOTS,
    WIDTH,
)
from tests.protocol.test_document import table
from tests.support.processes import Process, process, until, until_serving

PATIENCE_MS = 20_000
OUTPUTS = {"action": ACTION, "log_prob": TensorSpec((), "float32"), "value": TensorSpec((), "float32")}
FIRST, TERMINATED, TRUNCATED = RowFlags.FIRST, RowFlags.TERMINATED, RowFlags.TRUNCATED
Frames = list[bytes]


class Peer:
    """A raw socket that says what it is told to say."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self._socket = open_dealer(context, address)

    def close(self) -> None:
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def receive(self) -> tuple[Header, bytes]:
        assert self._socket.poll(PATIENCE_MS), "no answer"
        (frame,) = self._socket.recv_multipart()
        return unpack_header(frame), frame

    def ask(self, *frames: bytes) -> tuple[Header, bytes]:
        self.send(*frames)
        return self.receive()

    def refused(self, *frames: bytes) -> Failure:
        """The one ERROR that this message is answered with."""
        header, frame = self.ask(*frames)
        assert header.type == MessageType.ERROR
        self.assert_nothing_more()
        return unpack_control(Failure, frame)

    def poll(self) -> bool:
        return bool(self._socket.poll(0))

    def assert_nothing_more(self) -> dict[str, Any]:
        """The server, which answers a socket's messages in order, owes no answer but a status: its figures."""
        header, frame = self.ask(pack_header(MessageType.STATUS, 0, 2**64 - 1))
        assert (header.type, header.sequence) == (MessageType.REPORT, 2**64 - 1)
        figures: dict[str, Any] = msgpack.unpackb(frame[HEADER_BYTES:])["figures"]
        return figures


class Case(NamedTuple):
    """A message that is refused: how, and with which words."""

    frames: Any
    code: ErrorCode
    words: str


def cases(**named: tuple[Any, ErrorCode, str]) -> Any:
    return pytest.mark.parametrize(
        "case", [pytest.param(Case(*case), id=name.replace("_", " ")) for name, case in named.items()]
    )


def changed(frame: bytes, offset: int, new: bytes) -> bytes:
    return frame[:offset] + new + frame[offset + len(new) :]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Holds sockets; pytest's own folders have paths too long for them."""
    folder = Path(tempfile.mkdtemp(prefix="corral-bad-"))
    for kind in ("serve", "train"):
        (folder / kind).mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def processes(folder: Path) -> Iterator[dict[str, Process]]:
    """Both servers: they start side by side."""
    with contextlib.ExitStack() as stack:
        script = "tests.inference_server.hostile_peers_server"
        yield {
            kind: stack.enter_context(process("-m", script, kind, str(folder / kind)))
            for kind in ("serve", "train")
        }


@pytest.fixture(scope="module")
def context() -> Iterator[zmq.Context]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


# --- A server that serves a model ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serving(folder: Path, processes: dict[str, Process]) -> str:
    """The address of a server without a learner."""
    address = f"ipc://{folder}/serve/s"
    until_serving(address)
    return address


@pytest.fixture
def client(context: zmq.Context, serving: str, processes: dict[str, Process]) -> Iterator[Peer]:
    """A raw socket to it; whatever a test says there, a good request is answered right afterwards."""
    peer = Peer(context, serving)
    yield peer
    assert processes["serve"].popen.poll() is None, processes["serve"].output
    assert_inferred(Peer(context, serving))
    assert_inferred(peer)


def infer(rows: int = 2, sequence: int = 5, **leaves: np.ndarray) -> Frames:
    numbers = np.arange(rows)
    good = {
        "pixels": (numbers[:, None] + [0, 1, 250]).astype(np.uint8),
        "speed": (numbers[:, None] * [1, -2]).astype(np.float32),
        "gear": (numbers % 3).astype(np.int64),
    }
    return [
        pack_header(MessageType.INFER, 0, sequence, rows),
        *(leaf.tobytes() for leaf in (good | leaves).values()),
    ]


def assert_inferred(peer: Peer, rows: int = 3) -> None:
    sequence = secrets.randbits(64)
    frames = infer(rows, sequence)
    header, frame = peer.ask(*frames)
    assert (header.type, header.rows, header.session, header.sequence) == (MessageType.OUTPUTS, rows, 0, sequence)
    _, outputs = unpack_answer(header, frame, {"output": TensorSpec((2,), "float32")})
    pixels = np.frombuffer(frames[1], np.uint8).reshape(rows, 3)
    speed = np.frombuffer(frames[2], np.float32).reshape(rows, 2)
    gear = np.frombuffer(frames[3], np.int64)
    expected = np.concatenate([pixels, speed], axis=1) @ KERNEL + GEARS[gear][:, None]
    np.testing.assert_allclose(outputs["output"], expected)


HEAD, PIXELS, SPEED, GEAR = infer()
where_gathers_fail = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax",
    reason="on JAX no index fails: what lies beyond an embedding's end is NaN (docs/backends.md)",
)

MALFORMED, SPEC, LIMIT, VERSION, UNKNOWN_TYPE, SEQUENCE, EXPIRED, INTERNAL, BUSY = (
    ErrorCode[name]
    for name in "MALFORMED SPEC LIMIT VERSION UNKNOWN_TYPE SEQUENCE EXPIRED INTERNAL BUSY".split()  # noqa: SIM905
)


@cases(
    wrong_dtype=(
        infer(speed=np.zeros((2, 2), np.float64)),
        SPEC,
        "'speed' takes float32[2, 2], 16 bytes; the frame has 32",
    ),
    wrong_shape=(infer(pixels=np.zeros((2, 4), np.uint8)), SPEC, "'pixels' takes uint8[2, 3], 6 bytes"),
    too_many_rows_in_a_leaf=(infer(gear=np.zeros(3, np.int64)), SPEC, "'gear' takes int64[2], 16 bytes"),
    too_few_rows_in_a_leaf=(infer(gear=np.zeros(1, np.int64)), SPEC, "the frame has 8"),
    a_byte_short=([HEAD, PIXELS[:-1], SPEED, GEAR], SPEC, "6 bytes; the frame has 5"),
    a_byte_long=([HEAD, PIXELS, SPEED, GEAR + b"\0"], SPEC, "16 bytes; the frame has 17"),
    an_empty_leaf=([HEAD, PIXELS, b"", GEAR], SPEC, "the frame has 0"),
    swapped_leaves=([HEAD, SPEED, PIXELS, GEAR], SPEC, "'pixels' takes"),
    a_missing_leaf=([HEAD, PIXELS, SPEED], SPEC, "the frame of 'gear' is missing"),
    no_leaves=([HEAD], SPEC, "the frame of 'pixels' is missing"),
    a_surplus_frame=([HEAD, PIXELS, SPEED, GEAR, GEAR], MALFORMED, "more frames than its header promises"),
    a_surplus_empty_frame=([HEAD, PIXELS, SPEED, GEAR, b""], MALFORMED, "more frames than its header promises"),
    a_huge_leaf=([HEAD, bytes(10_000_000), SPEED, GEAR], SPEC, "the frame has 10000000"),
    no_rows=(infer(0), LIMIT, "1 to 8 rows, not 0"),
    too_many_rows=(infer(MAX_ROWS + 1), LIMIT, "1 to 8 rows, not 9"),
    most_rows_a_header_can_say=([changed(HEAD, 4, b"\xff\xff"), PIXELS, SPEED, GEAR], LIMIT, "not 65535"),
    final_rows=([changed(HEAD, 6, b"\1"), PIXELS, SPEED, GEAR], MALFORMED, "a header and observation frames"),
    bytes_behind_the_header=([HEAD + bytes(8), PIXELS, SPEED, GEAR], MALFORMED, "a header and observation frames"),
    a_step=([pack_header(MessageType.STEP, 1, 1, 1) + bytes(8)], UNKNOWN_TYPE, "no learner: it answers INFER only"),
    an_actor=([pack_control(MessageType.HELLO, 1, 5, Hello("actor", environments=1))], UNKNOWN_TYPE, "no learner"),
    a_heartbeat_of_nobody=([pack_header(MessageType.HEARTBEAT, 9, 5)], EXPIRED, "say HELLO again"),
)
def test_infer(client: Peer, case: Case) -> None:
    failure = client.refused(*case.frames)
    assert failure.code == case.code
    assert case.words in failure.text


@where_gathers_fail
def test_a_gear_that_does_not_exist(client: Peer) -> None:
    failure = client.refused(*infer(gear=np.array([0, 99])))
    assert failure.code == INTERNAL
    assert "the model failed" in failure.text


def test_numbers_that_are_none_where_the_server_lets_them_through(client: Peer) -> None:
    speed = np.array([[1, 2], [np.nan, np.inf], [3, 4]], np.float32)
    header, frame = client.ask(*infer(3, speed=speed))
    assert header.type == MessageType.OUTPUTS
    _, outputs = unpack_answer(header, frame, {"output": TensorSpec((2,), "float32")})
    assert np.isfinite(outputs["output"]).all(axis=1).tolist() == [True, False, True]


def test_an_error_repeats_its_request_s_session_and_sequence(client: Peer) -> None:
    header, _ = client.ask(pack_header(MessageType.STEP, 77, 88, 1), b"x")
    assert (header.type, header.session, header.sequence, header.rows) == (MessageType.ERROR, 77, 88, 0)


@cases(
    an_empty_frame=([b""], MALFORMED, "24 header bytes; got 0"),
    many_empty_frames=([b""] * 1000, MALFORMED, "24 header bytes; got 0"),
    a_req_socket_s_delimiter=([b"", *infer()], MALFORMED, "24 header bytes; got 0"),
    one_byte=([b"C"], MALFORMED, "24 header bytes; got 1"),
    half_a_header=([HEAD[:23], PIXELS, SPEED, GEAR], MALFORMED, "24 header bytes; got 23"),
    a_web_browser=([b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"], MALFORMED, "begins with b'CR', not b'GE'"),
    a_pickle=([b"\x80\x04\x95" + bytes(100)], MALFORMED, "begins with b'CR'"),
    a_megabyte_of_nothing=([bytes(1 << 20)] * 3, MALFORMED, "begins with b'CR'"),
    an_old_version=(
        [changed(HEAD, 2, b"\0"), PIXELS, SPEED, GEAR],
        VERSION,
        "version 1, the message is of version 0",
    ),
    a_new_version=(
        [changed(HEAD, 2, b"\2"), PIXELS, SPEED, GEAR],
        VERSION,
        "version 1, the message is of version 2",
    ),
)
def test_what_is_no_message(client: Peer, case: Case) -> None:
    header, frame = client.ask(*case.frames)
    assert (header.type, header.session, header.sequence) == (MessageType.ERROR, 0, 0)
    failure = unpack_control(Failure, frame)
    assert failure.code == case.code
    assert case.words in failure.text
    client.assert_nothing_more()


TAKEN_BY_SERVERS = (
    MessageType.HELLO,
    MessageType.STEP,
    MessageType.INFER,
    MessageType.HEARTBEAT,
    MessageType.BYE,
    MessageType.STATUS,
    MessageType.SET,
    MessageType.COMMAND,
)


@pytest.mark.parametrize("type_", [0, *(set(MessageType) - set(TAKEN_BY_SERVERS)), 15, 20, 255])
def test_a_type_that_no_server_takes(client: Peer, type_: int) -> None:
    failure = client.refused(changed(HEAD, 3, bytes([type_])), PIXELS)
    assert failure.code == UNKNOWN_TYPE
    assert f"type {int(type_)}" in failure.text


def hello(**changes: Any) -> Frames:
    """A client's HELLO; a field that is None is left out."""
    fields = {name: value for name, value in (asdict(Hello("client")) | changes).items() if value is not None}
    return [pack_header(MessageType.HELLO, 1, 5) + msgpack.packb(fields)]


@cases(
    an_unknown_field=(hello(shoe_size=43), MALFORMED, "'shoe_size'"),
    a_missing_field=(hello(versions=None), MALFORMED, "Hello has the fields ['action', 'environment'"),
    a_text_for_a_number=(hello(environments="2"), MALFORMED, "Hello.environments is no <class 'int'>"),
    a_number_for_a_text=(hello(role=3), MALFORMED, "Hello.role is no <class 'str'>"),
    a_number_for_a_list=(hello(versions=1), MALFORMED, "Hello.versions is no list[int]"),
    a_text_too_long=(hello(role="a" * 5000), MALFORMED, "Hello.role"),
    another_role=(hello(role="emperor"), MALFORMED, '"actor" and "client", not \'emperor\''),
    a_server=(hello(role="server"), MALFORMED, '"actor" and "client", not \'server\''),
    no_common_version=(hello(versions=[2, 3]), VERSION, "speaks protocol version 1, the caller speaks [2, 3]"),
    no_version=(hello(versions=[]), VERSION, "the caller speaks []"),
    no_body=([pack_header(MessageType.HELLO, 1, 5)], MALFORMED, "the body of Hello is no msgpack"),
    no_msgpack=([pack_header(MessageType.HELLO, 1, 5) + b"\xc1"], MALFORMED, "the body of Hello is no msgpack"),
    no_map=([pack_header(MessageType.HELLO, 1, 5) + b"\x90"], MALFORMED, "the body of Hello is no map"),
    too_deep=([pack_header(MessageType.HELLO, 1, 5) + b"\x91" * 100_000 + b"\0"], MALFORMED, "no msgpack"),
    a_promise_of_4_billion=(
        [pack_header(MessageType.HELLO, 1, 5) + b"\xdf\xff\xff\xff\xff"],
        MALFORMED,
        "no msgpack",
    ),
    too_long=([pack_header(MessageType.HELLO, 1, 5) + bytes(1 << 20)], MALFORMED, "at most 1048576"),
)
def test_hello(client: Peer, case: Case) -> None:
    failure = client.refused(*case.frames)
    assert failure.code == case.code
    assert case.words in failure.text


def test_an_error_is_never_too_long_to_be_read_and_nor_is_the_status(client: Peer) -> None:
    for _ in range(5):
        failure = client.refused(*hello(versions=list(range(2, 200_000))))
        assert failure.code == VERSION
        assert "32, 33, ...]" in failure.text
    assert len(client.assert_nothing_more()["last_errors"]) == 5


def test_a_bye_of_nobody_gets_no_answer(client: Peer) -> None:
    client.send(pack_header(MessageType.BYE, 123, 5))
    client.assert_nothing_more()


def test_what_is_no_zeromq_at_all(client: Peer, serving: str) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\xff" * 1000, b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(serving.removeprefix("ipc://"))
            with contextlib.suppress(BrokenPipeError):
                stranger.sendall(noise)


def test_a_peer_that_leaves_before_its_answer(context: zmq.Context, serving: str, client: Peer) -> None:
    for _ in range(20):
        with open_dealer(context, serving) as hasty:
            hasty.send_multipart(infer())


def test_a_thousand_damaged_messages(client: Peer) -> None:
    random = np.random.default_rng(4)
    for _ in range(1000):
        frames = [bytearray(frame) for frame in itertools.chain(infer(), hello()[:1])]
        if random.random() < 0.5:
            frames = frames[4:]
        frames = frames[: random.integers(1, 6)]
        for _ in range(random.integers(1, 4)):
            # Not the gear: one that does not exist has a test of its own.
            frame = frames[random.integers(min(len(frames), 3))]
            place = random.integers(len(frame) + 1)
            frame[place : place + random.integers(3)] = random.bytes(random.integers(3))
        client.send(*frames)
    # Rows are answered in order, all else before what comes later: behind this answer there are no others.
    client.send(*infer(1, 2**64 - 1))
    answers = 1
    while client.receive()[0].sequence != 2**64 - 1:
        answers += 1
    assert 900 < answers <= 1001


@where_gathers_fail
def test_a_row_that_fails_leaves_nothing_behind(client: Peer) -> None:
    gear = np.zeros(MAX_ROWS, np.int64)
    gear[-1] = 99
    failure = client.refused(*infer(MAX_ROWS, gear=gear))
    try:
        assert failure.code == INTERNAL
        assert_inferred(client, 1)
    finally:
        assert_inferred(client, MAX_ROWS)  # which writes over it


@where_gathers_fail
def test_a_row_that_fails_costs_nobody_else_an_answer(context: zmq.Context, serving: str, client: Peer) -> None:
    with zmq.Context() as other:
        liar = Peer(other, serving)
        for _ in range(20):
            liar.send(*infer(MAX_ROWS - 1, gear=np.full(MAX_ROWS - 1, 99)))
            client.send(*infer(1))
            header, _ = client.receive()
            assert liar.receive()[0].type == MessageType.ERROR
            assert_inferred(liar, MAX_ROWS)
            assert header.type == MessageType.OUTPUTS
        liar.close()


# --- A server that plays in training ------------------------------------------------------------------------------


class LearnerOfTests:
    """The learner's part, played by the test: gives the server weights and, unless paused, takes unrolls."""

    QUEUE = 8

    def __init__(self, folder: Path) -> None:
        self.source = UnrollSource(f"ipc://{folder}/u", queue=self.QUEUE)
        self.publisher = WeightPublisher(f"ipc://{folder}/w")
        self.unrolls: list[Any] = []
        self._turn = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self) -> None:
        while not self._closing:
            with self._turn:
                unroll = self.source.next(1, 0.02)
                if unroll is not None:
                    self.unrolls.append(unroll)

    @property
    def queue_is_full(self) -> bool:
        """Whether nothing more is accepted, for as long as it is paused."""
        return self.source.unrolls - len(self.unrolls) >= self.QUEUE

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is taken from the queue meanwhile."""
        with self._turn:
            yield

    def publish(self, weights: dict[str, np.ndarray]) -> None:
        """Weights whose action is the place of the largest of an observation's first numbers."""
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        (kernel,) = [name for name, array in weights.items() if array.shape == (WIDTH, ACTIONS)]
        zeros[kernel] = np.eye(WIDTH, ACTIONS, dtype=np.float32) * 100
        self.publisher.publish(zeros)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self.source.close()
        self.publisher.close()


def observations(numbers: np.ndarray, who: int, step: int) -> np.ndarray:
    """Rows that ask for the actions `numbers`, and say whose they are."""
    rows = np.zeros((len(numbers), WIDTH), np.float32)
    rows[np.arange(len(numbers)), numbers] = 1
    rows[:, ACTIONS] = who + np.arange(len(numbers))
    rows[:, ACTIONS + 1] = step
    return rows


class Bystander:
    """An actor that behaves: two environments, with episodes of 5 and 7 steps; it checks its actions."""

    WHO = 1000

    def __init__(self, address: str) -> None:
        settings = ActorSettings(environments=2, give_up_after_s=30)
        self._session = ActorSession(address, OBSERVATION, ACTION, settings, environments=2)
        self._session.join()
        self.steps = 0

    def step(self) -> None:
        numbers = np.array([self.steps, self.steps + 1]) % ACTIONS
        rows = observations(numbers, self.WHO, self.steps)
        ended = np.array([self.steps % length == 0 for length in (5, 7)])
        flags = np.where(ended, FIRST | TERMINATED if self.steps else FIRST, 0)
        reward = np.full(2, self.steps if self.steps else 0)
        final = {"observation": rows[ended] + 0.5 if self.steps else rows[:0]}
        environment = np.arange(2, dtype=np.uint16)
        action = self._session.step(
            Rows(environment, reward.astype(np.float32), flags.astype(np.uint16), {"observation": rows}, final)
        )
        assert action.tolist() == numbers.tolist()
        assert self._session.policy_version == 1
        self.steps += 1

    def leave(self) -> None:
        self._session.leave()


@pytest.fixture(scope="module")
def learner(folder: Path, processes: dict[str, Process]) -> Iterator[LearnerOfTests]:
    learner = LearnerOfTests(folder / "train")
    yield learner
    learner.close()


@pytest.fixture(scope="module")
def training(folder: Path, processes: dict[str, Process], context: zmq.Context, learner: LearnerOfTests) -> str:
    """The address of a server with a learner, which has given it weights; before that, it is not ready."""
    address = f"ipc://{folder}/train/s"
    until(lambda: fetch_status(address, 0.5), what="a status")
    early = Peer(context, address)
    for message in (infer(), hello(), [pack_control(MessageType.HELLO, 1, 1, actor_hello())]):
        failure = early.refused(*message)
        assert failure.code == ErrorCode.NOT_READY
        assert "waits for its learner" in failure.text
    with np.load(folder / "train" / "weights.npz") as weights:
        learner.publish(dict(weights))
    until_serving(address)
    return address


@pytest.fixture(scope="module")
def bystander(training: str) -> Iterator[Bystander]:
    bystander = Bystander(training)
    yield bystander
    bystander.leave()


@pytest.fixture
def peer(
    context: zmq.Context,
    training: str,
    processes: dict[str, Process],
    learner: LearnerOfTests,
    bystander: Bystander,
) -> Iterator[Peer]:
    """A raw socket to it; before and after, a well-behaved actor steps."""
    bystander.step()
    yield Peer(context, training)
    assert processes["train"].popen.poll() is None, processes["train"].output
    bystander.step()


def actor_hello(**changes: Any) -> Hello:
    good = Hello("actor", [1], 2, "", 50, "far", 0, spec_to_wire(OBSERVATION), spec_to_wire({"action": ACTION}))
    return Hello(**(asdict(good) | changes))


def greet(peer: Peer, nonce: int | None = None, **changes: Any) -> Frames:
    return [
        pack_control(MessageType.HELLO, secrets.randbits(64) if nonce is None else nonce, 5, actor_hello(**changes))
    ]


class RawSession:
    """A session whose every message is made by hand."""

    def __init__(self, peer: Peer, environments: int = 2) -> None:
        self.peer = peer
        self.environments = environments
        header, frame = peer.ask(*greet(peer, environments=environments))
        assert header.type == MessageType.WELCOME
        self.welcome = unpack_control(Welcome, frame)
        self.token = self.welcome.session

    def head(
        self,
        sequence: int,
        rows: list[tuple[float, int, int]],
        *,
        count: int | None = None,
        ended: int | None = None,
        extra: bytes = b"",
    ) -> bytes:
        """A STEP's first frame; `count` and `ended` say something other than the table."""
        ends = sum(bool(flags & (TERMINATED | TRUNCATED)) for *_, flags in rows)
        header = pack_header(
            MessageType.STEP,
            self.token,
            sequence,
            len(rows) if count is None else count,
            ends if ended is None else ended,
        )
        return header + np.array(rows, ROW).tobytes() + extra

    def good(self, sequence: int, flags: int | None = None) -> Frames:
        """A good STEP of all environments; the first one begins their episodes."""
        flags = (FIRST if sequence == 1 else 0) if flags is None else flags
        rows = [(0.5, environment, int(flags)) for environment in range(self.environments)]
        numbers = np.arange(self.environments) % ACTIONS
        observation = observations(numbers, 0, sequence).tobytes()
        finals = [observation] if flags & (TERMINATED | TRUNCATED) else []
        return [self.head(sequence, rows), observation, *finals]

    def assert_answered(self, header: Header, frame: bytes, sequence: int) -> None:
        assert header.type == MessageType.ACTIONS
        assert (header.session, header.sequence, header.rows) == (self.token, sequence, self.environments)
        version, outputs = unpack_answer(header, frame, {"action": ACTION})
        assert version == 1
        assert outputs["action"].tolist() == (np.arange(self.environments) % ACTIONS).tolist()

    def step(self, sequence: int, flags: int | None = None) -> bytes:
        header, frame = self.peer.ask(*self.good(sequence, flags))
        self.assert_answered(header, frame, sequence)
        return frame

    def leave(self) -> None:
        self.peer.send(pack_header(MessageType.BYE, self.token, 0))
        self.peer.assert_nothing_more()


@pytest.fixture
def session(peer: Peer) -> Iterator[RawSession]:
    """A session that has stepped once, and so goes on with 2."""
    session = RawSession(peer)
    session.step(1)
    yield session
    session.leave()


def two(*second: Any, flags: int = 0, reward: float = 1.0) -> list[tuple[float, int, int]]:
    return [(0.0, 0, 0), (reward, *(second or (1,)), int(flags))]


ROWS = observations(np.array([0, 1]), 0, 2)
BOTH, ONE = ROWS.tobytes(), ROWS[:1].tobytes()
ENDS = FIRST | TERMINATED


def step(rows: list[tuple[float, int, int]], *frames: bytes, **head: Any) -> Callable[[RawSession], Frames]:
    return lambda session: [session.head(2, rows, **head), *frames]


@cases(
    no_rows=(step([], b""), LIMIT, "1 to 2 rows, not 0"),
    more_rows_than_environments=(step([*two(), (0.0, 2, 0)], BOTH + ONE), LIMIT, "1 to 2 rows, not 3"),
    a_short_table=(step(two(), ONE, count=1), MALFORMED, "1 rows take 8 bytes behind the header; got 16"),
    a_long_table=(step(two()[:1], BOTH, count=2), MALFORMED, "2 rows take 16 bytes behind the header; got 8"),
    bytes_behind_the_table=(step(two(), BOTH, extra=b"\0"), MALFORMED, "got 17"),
    descending_environments=(step(two()[::-1], BOTH), MALFORMED, "must ascend and be less than 2"),
    the_same_environment_twice=(step(two(0), BOTH), MALFORMED, "must ascend"),
    an_environment_of_somebody_else=(step(two(2), BOTH), MALFORMED, "must ascend and be less than 2"),
    the_last_environment_there_can_be=(step(two(65535), BOTH), MALFORMED, "must ascend and be less than 2"),
    ends_that_the_table_does_not_show=(
        step(two(), BOTH, ONE, ended=1),
        MALFORMED,
        "the header says that 1 rows ended, the table 0",
    ),
    an_end_that_the_header_does_not_count=(
        step(two(flags=ENDS), BOTH, ended=0),
        MALFORMED,
        "the header says that 0 rows ended, the table 1",
    ),
    an_end_that_is_not_first=(step(two(flags=TRUNCATED), BOTH, ONE), SEQUENCE, "must be marked FIRST"),
    a_reward_that_is_no_number=(step(two(reward=np.nan), BOTH), MALFORMED, "a reward is not finite"),
    an_infinite_reward=(step(two(reward=-np.inf), BOTH), MALFORMED, "a reward is not finite"),
    a_wrong_dtype=(step(two(), ROWS.astype("f8").tobytes()), SPEC, "float32[2, 5], 40 bytes; the frame has 80"),
    too_few_observations=(step(two(), ONE), SPEC, "float32[2, 5], 40 bytes; the frame has 20"),
    an_empty_observation=(step(two(), b""), SPEC, "the frame has 0"),
    no_observation=(step(two()), SPEC, "the frame of 'observation' is missing"),
    a_surplus_frame=(step(two(), BOTH, BOTH), MALFORMED, "more frames than its header promises"),
    a_missing_final=(step(two(flags=ENDS), BOTH), SPEC, "the frame of 'final observation' is missing"),
    a_final_too_many=(
        step(two(flags=ENDS), BOTH, BOTH),
        SPEC,
        "'final observation' takes float32[1, 5], 20 bytes; the frame has 40",
    ),
    a_surplus_frame_behind_the_finals=(step(two(flags=ENDS), BOTH, ONE, b""), MALFORMED, "more frames"),
)
def test_step(session: RawSession, case: Case) -> None:
    frames = case.frames(session)
    header, frame = session.peer.ask(*frames)
    assert (header.type, header.session, header.sequence) == (MessageType.ERROR, session.token, 2)
    failure = unpack_control(Failure, frame)
    assert failure.code == case.code
    assert case.words in failure.text
    # The refused step leaves no trace: the next one has its number, and may be an end or not.
    session.step(2, ENDS)
    session.step(3)


@pytest.mark.parametrize("flags", [0, ENDS, TRUNCATED | FIRST, TERMINATED])
def test_an_environment_s_first_row_begins_an_episode_and_ends_none(peer: Peer, flags: int) -> None:
    session = RawSession(peer)
    failure = peer.refused(*session.good(1, flags))
    assert failure.code == SEQUENCE
    assert "FIRST" in failure.text
    session.step(1)
    session.leave()


@pytest.mark.parametrize("sequence", [0, 3, 2**63, 2**64 - 1])
def test_a_step_out_of_order(session: RawSession, sequence: int) -> None:
    failure = session.peer.refused(*session.good(sequence, 0))
    assert failure.code == SEQUENCE
    assert f"step {sequence} is out of order: the last one answered is 1" in failure.text
    session.step(2)


def test_a_step_that_was_answered_long_ago(session: RawSession) -> None:
    session.step(2)
    session.step(3)
    assert session.peer.refused(*session.good(2)).code == SEQUENCE
    session.step(4)


def test_an_unknown_session(peer: Peer, session: RawSession) -> None:
    for token in (0, 1, session.token ^ 1):
        for message in (
            [changed(session.good(2)[0], 8, struct.pack("<Q", token)), BOTH],
            [pack_header(MessageType.HEARTBEAT, token, 5)],
        ):
            failure = peer.refused(*message)
            assert failure.code == EXPIRED
            assert "say HELLO again and reset" in failure.text
    session.step(2)


OTHER_WIDTH = spec_to_wire({"observation": TensorSpec((WIDTH + 1,), "float32")})
OTHER_DTYPE = spec_to_wire({"observation": TensorSpec((WIDTH,), "float64")})
OTHER_NAME = spec_to_wire({"picture": TensorSpec((WIDTH,), "float32")})
ONE_MORE = spec_to_wire({**OBSERVATION, "picture": TensorSpec((), "float32")})
OTHER_RANGE = spec_to_wire({"action": TensorSpec((), "int64", 0, ACTIONS)})
OTHER_ACTION = spec_to_wire({"action": TensorSpec((2,), "float32")})


@cases(
    another_shape=({"observation": OTHER_WIDTH}, SPEC, "'observation' is float32[5] here and float32[6] there"),
    another_dtype=({"observation": OTHER_DTYPE}, SPEC, "'observation' is float32[5] here and float64[5] there"),
    another_name=({"observation": OTHER_NAME}, SPEC, "['observation'] here and ['picture'] there"),
    one_leaf_more=({"observation": ONE_MORE}, SPEC, "['observation'] here and ['observation', 'picture'] there"),
    no_observation=({"observation": {}}, SPEC, "['observation'] here and [] there"),
    no_spec=({"observation": {"observation": 5}}, SPEC, "a tensor spec is [shape, dtype, minimum, maximum]"),
    a_dtype_of_python=(
        {"observation": {"observation": [[5], "object", None, None]}},
        SPEC,
        "'object' is not one of",
    ),
    a_shape_of_many_bytes=({"observation": {"observation": [[2**30] * 8, "int8", None, None]}}, SPEC, "more than"),
    odd_bounds=(
        {"observation": {"observation": [[0], "int8", [], []]}},
        SPEC,
        "'observation' is float32[5] here and int8[0] there",
    ),
    bounds_that_are_no_numbers=(
        {"action": {"action": [[], "int64", float("nan"), float("inf")]}},
        SPEC,
        "'action' ranges over (0, 2) here and (nan, inf) there",
    ),
    more_actions=({"action": OTHER_RANGE}, SPEC, "'action' ranges over (0, 2) here and (0, 3) there"),
    another_action=({"action": OTHER_ACTION}, SPEC, "'action' is int64[] of 3 values here and float32[2] there"),
    no_action=({"action": {}}, SPEC, "['action'] here and [] there"),
    no_environments=({"environments": 0}, LIMIT, "1 environment or more, not 0"),
    fewer_than_no_environments=({"environments": -3}, LIMIT, "1 environment or more, not -3"),
    more_environments_than_rows=(
        {"environments": MAX_ROWS + 1},
        LIMIT,
        "9 environments step in one message of at most 8 rows: give this actor fewer",
    ),
    very_many_environments=({"environments": 2**64 - 1}, LIMIT, "give this actor fewer"),
    no_common_version=({"versions": [0, 7]}, VERSION, "speaks protocol version 1, the caller speaks [0, 7]"),
    another_role=({"role": "emperor"}, MALFORMED, "not 'emperor'"),
)
def test_an_actor_s_hello(peer: Peer, case: Case) -> None:
    before = peer.assert_nothing_more()
    failure = peer.refused(*greet(peer, **case.frames))
    assert failure.code == case.code
    assert case.words in failure.text
    after = peer.assert_nothing_more()
    assert (after["actors"], after["environments"]) == (before["actors"], before["environments"])


def test_no_slots_left(peer: Peer) -> None:
    large = RawSession(peer, MAX_ROWS)
    failure = peer.refused(*greet(peer, environments=MAX_ROWS))
    assert failure.code == BUSY
    assert f"10 of {SLOTS} slots are taken; raise server.max_environments" in failure.text
    large.leave()
    RawSession(peer, MAX_ROWS).leave()


def test_a_doubled_hello_opens_one_session(context: zmq.Context, training: str, peer: Peer) -> None:
    nonce = secrets.randbits(64)
    before = peer.assert_nothing_more()["environments"]
    other = Peer(context, training)
    tokens = {unpack_control(Welcome, each.ask(*greet(each, nonce))[1]).session for each in (peer, other, peer)}
    assert len(tokens) == 1
    assert peer.assert_nothing_more()["environments"] == before + 2
    peer.send(pack_header(MessageType.BYE, tokens.pop(), 0))
    assert peer.assert_nothing_more()["environments"] == before


def test_a_resend_of_an_answered_step_advances_nothing(
    context: zmq.Context, training: str, session: RawSession
) -> None:
    answer = session.step(2)
    before = session.peer.assert_nothing_more()
    other = Peer(context, training)
    for _ in range(3):
        assert other.ask(*session.good(2))[1] == answer
    # Its number alone makes it a resend: nobody looks at the rest.
    assert other.ask(session.good(2)[0], b"something else", b"and more")[1] == answer
    after = other.assert_nothing_more()
    for figure in ("rows", "batches", "env_steps"):
        assert after[figure] == before[figure]
    session.peer.assert_nothing_more()
    session.step(3)


@contextlib.contextmanager
def waiting_step(peer: Peer, learner: LearnerOfTests) -> Iterator[tuple[RawSession, int]]:
    """A session of `MAX_ROWS` environments and the number of its step, which waits until the block ends."""
    session = RawSession(peer, MAX_ROWS)
    session.step(1)
    with learner.paused():
        for sequence in itertools.count(2):
            peer.send(*session.good(sequence))
            answer = answer_unless_blocked(peer, learner)
            if answer is None:
                break
            session.assert_answered(*answer, sequence)
        yield session, sequence


def answer_unless_blocked(peer: Peer, learner: LearnerOfTests) -> tuple[Header, bytes] | None:
    """The answer to the step that was sent last, or None where it waits for the learner."""
    while True:
        header, frame = peer.ask(pack_header(MessageType.STATUS, 0, 7))
        if header.type != MessageType.REPORT:
            assert peer.receive()[0].type == MessageType.REPORT
            return header, frame
        figures = msgpack.unpackb(frame[HEADER_BYTES:])["figures"]
        # Blocked for good only once nothing more is accepted, and the server has heard of everything that was.
        full = learner.queue_is_full
        if full and figures["blocked"] and figures["unrolls_accepted"] == learner.source.unrolls:
            return None


def test_a_resend_of_a_waiting_step_moves_its_answer_and_advances_nothing(
    context: zmq.Context, training: str, peer: Peer, learner: LearnerOfTests
) -> None:
    other, last = Peer(context, training), Peer(context, training)
    with waiting_step(peer, learner) as (session, sequence):
        before = peer.assert_nothing_more()
        for each in (other, other, last):
            each.send(*session.good(sequence))
            each.assert_nothing_more()
        # The step that would follow is not this session's to send yet.
        assert last.refused(*session.good(sequence + 1)).code == SEQUENCE
    header, frame = last.receive()
    session.assert_answered(header, frame, sequence)
    for each in (peer, other, last):
        after = each.assert_nothing_more()
    assert after["rows"] == before["rows"] + MAX_ROWS
    session.peer = last
    session.step(sequence + 1)
    session.leave()


def test_a_session_that_ends_while_its_step_waits(peer: Peer, learner: LearnerOfTests) -> None:
    with waiting_step(peer, learner) as (session, _):
        for _ in range(3):
            assert peer.refused(pack_header(MessageType.INFER, session.token, 1)).code == LIMIT
        assert peer.refused(*session.good(1)).code == EXPIRED
        figures = peer.assert_nothing_more()
        # Its seats are kept for as long as the step waits, so that nobody else's is stored in its place.
        assert (figures["actors"], figures["environments"]) == (1, 2 + MAX_ROWS)
    until(lambda: peer.assert_nothing_more()["environments"] == 2, what="freeing the seats")
    RawSession(peer, MAX_ROWS).leave()


def test_three_strikes_end_a_session(peer: Peer, session: RawSession) -> None:
    environments = peer.assert_nothing_more()["environments"]
    for _ in range(5):  # steps out of order are no lies: they may come from a network that reorders
        assert peer.refused(*session.good(9, 0)).code == SEQUENCE
    assert peer.refused(session.head(2, two(reward=np.nan)), BOTH).code == MALFORMED
    session.step(2)
    assert peer.refused(session.head(3, two()), ONE).code == SPEC
    session.step(3)
    assert peer.refused(session.head(4, []), b"").code == LIMIT
    failure = peer.refused(*session.good(4))
    assert failure.code == EXPIRED
    assert peer.assert_nothing_more()["environments"] == environments - 2
    # Whoever comes back behaving is welcome.
    again = RawSession(peer)
    again.step(1)
    again.leave()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(peer: Peer, session: RawSession, value: float) -> None:
    rows = np.frombuffer(BOTH, np.float32).reshape(2, WIDTH).copy()
    rows[1, 3] = value
    for failure in (
        peer.refused(session.good(2)[0], rows.tobytes()),
        peer.refused(pack_header(MessageType.INFER, 0, 6, 2), rows.tobytes()),
    ):
        assert failure.code == MALFORMED
        assert f"'observation' holds {value} in row 1 at [3]" in failure.text
    session.step(2)  # it has left no trace


def test_no_strikes_for_the_lies_of_others(peer: Peer, session: RawSession) -> None:
    for _ in range(10):
        peer.refused(b"garbage")
        peer.refused(*hello(shoe_size=43))
        peer.refused(pack_header(MessageType.INFER, 0, 1))
    session.step(2)


def test_a_client_among_the_actors(peer: Peer) -> None:
    header, frame = peer.ask(*hello())
    welcome = unpack_control(Welcome, frame)
    assert (header.type, header.session, header.sequence, welcome.session) == (MessageType.WELCOME, 1, 5, 0)
    assert spec_from_wire(welcome.observation) == OBSERVATION
    assert spec_from_wire(welcome.output) == OUTPUTS
    header, frame = peer.ask(pack_header(MessageType.INFER, 0, 6, 2), BOTH)
    version, outputs = unpack_answer(header, frame, OUTPUTS)
    assert version == 1
    assert outputs["action"].tolist() == [0, 1]
    assert outputs["value"].tolist() == [0, 0]


def test_the_figures_are_those_of_the_document(peer: Peer) -> None:
    documented = {name for (name,) in table("server figure")}
    assert peer.assert_nothing_more().keys() == documented - {"actor_table"}


def test_an_actor_tells_of_its_work_and_is_listed(peer: Peer, session: RawSession) -> None:
    before = peer.assert_nothing_more()
    peer.send(pack_control(MessageType.HEARTBEAT, session.token, 0, Work(1.5, 2.5, 10, 20)))
    after = peer.assert_nothing_more()
    assert after["actor_environment_s"] == before["actor_environment_s"] + 1.5
    assert after["actor_wait_s"] == before["actor_wait_s"] + 2.5
    _, frame = peer.ask(pack_control(MessageType.STATUS, 0, 0, Question(1000)))
    rows = unpack_control(Report, frame).figures["actor_table"]
    assert len(rows) == after["actors"]
    (mine,) = [row for row in rows if "wait_share" in row and row["wait_share"] == 0.625]
    assert (mine["host"], mine["environments"], mine["steps_per_s"]) == ("far", 2, 5.0)
    _, frame = peer.ask(pack_control(MessageType.STATUS, 0, 0, Question(1)))
    assert len(unpack_control(Report, frame).figures["actor_table"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb({"environment_s": 1.0}),
        msgpack.packb("x" * 300),
        b"\xc1",
        b" ",
        msgpack.packb(asdict(Work(-1.0, 0.0, 0, 0))),
    ],
)
def test_a_heartbeat_s_body(peer: Peer, session: RawSession, body: bytes) -> None:
    failure = peer.refused(pack_header(MessageType.HEARTBEAT, session.token, 9) + body)
    assert failure.code == MALFORMED
    session.step(2)


@pytest.mark.parametrize("name", ["", "wash", "x" * 4000, "pause"])
def test_a_server_is_told_to_drain_or_nothing(peer: Peer, name: str) -> None:
    failure = peer.refused(pack_control(MessageType.COMMAND, 0, 9, Command(name)))
    assert failure.code == ErrorCode.COMMAND
    assert "a server can be told to drain" in failure.text


def test_the_errors_were_counted(peer: Peer, session: RawSession) -> None:
    before = peer.assert_nothing_more()["errors"]
    peer.refused(session.head(2, two(reward=np.nan)), BOTH)
    after = peer.assert_nothing_more()
    assert after["errors"]["MALFORMED"] == before.get("MALFORMED", 0) + 1
    assert after["last_errors"][-1] == "MALFORMED: a reward is not finite"


def test_an_environment_number_that_no_int64_holds(peer: Peer) -> None:
    before = peer.assert_nothing_more()["environments"]
    failure = peer.refused(*greet(peer, first_environment=2**64 - 1))
    assert peer.assert_nothing_more()["environments"] == before
    assert failure.code in (LIMIT, MALFORMED)


def test_the_bystander_s_steps_all_arrived(learner: LearnerOfTests, bystander: Bystander) -> None:
    """The last word: one actor behaved through all of this, and each of its steps is stored once, in order."""
    for _ in range(2 * LENGTH):
        bystander.step()

    def followed(environment: int) -> list[Any]:
        who = Bystander.WHO + environment
        mine = [
            unroll for unroll in learner.unrolls if int(unroll.observation["observation"][0, 0, ACTIONS]) == who
        ]
        # The last index of an unroll is the first one of the next.
        return [(unroll, index) for unroll in mine for index in range(LENGTH)]

    def enough() -> bool:
        return all(len(followed(environment)) >= bystander.steps - LENGTH for environment in range(2))

    until(enough, what="the last unroll")
    for environment, length in enumerate((5, 7)):
        expected = expected_story(environment, length)
        for (unroll, index), (number, step_type) in zip(followed(environment), expected, strict=False):
            assert unroll.observation["observation"][index, 0, ACTIONS + 1] == number
            assert unroll.step_type[index, 0] == step_type
            reward = 0 if step_type == StepType.FIRST else np.ceil(number - 0.5)
            assert unroll.reward[index, 0] == reward
            action = 0 if step_type == StepType.LAST else (int(number) + environment) % ACTIONS
            assert unroll.output["action"][index, 0] == action


def expected_story(environment: int, length: int) -> Iterator[tuple[float, StepType]]:
    """What is stored of a bystander's environment: the number in each observation, and its step type."""
    yield 0, StepType.FIRST
    for step in itertools.count(1):
        if step % length == 0:
            yield step + 0.5, StepType.LAST
        yield step, StepType.MID if step % length else StepType.FIRST


# --- A server whose model fails on what an actor may send ---------------------------------------------------------


@where_gathers_fail
def test_a_step_on_which_the_model_fails(context: zmq.Context) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-bad-")))
        server = stack.enter_context(
            process("-m", "tests.inference_server.hostile_peers_server", "fail", str(folder))
        )
        stack.enter_context(UnrollSource(f"ipc://{folder}/u"))
        publisher = stack.enter_context(WeightPublisher(f"ipc://{folder}/w"))
        until((folder / "weights.npz").exists, what="the weights' names")
        with np.load(folder / "weights.npz") as weights:
            publisher.publish(dict(weights))
        until_serving(f"ipc://{folder}/s")
        liar, good = Peer(context, f"ipc://{folder}/s"), Peer(context, f"ipc://{folder}/s")
        spec = spec_to_wire(FRAGILE)
        tokens = {
            each: unpack_control(Welcome, each.ask(*greet(each, environments=1, observation=spec))[1]).session
            for each in (liar, good)
        }

        def first(peer: Peer, gear: int) -> Frames:
            head = pack_header(MessageType.STEP, tokens[peer], 1, 1)
            return [head + np.array([(0, 0, FIRST)], ROW).tobytes(), np.int64(gear).tobytes()]

        liar.send(*first(liar, 99))
        good.send(*first(good, 1))
        until(lambda: server.popen.poll() is not None or liar.poll(), what="an answer, or the end")
        assert server.popen.poll() is None, server.output
        header, frame = liar.receive()
        assert unpack_control(Failure, frame).code == INTERNAL
        assert (header.session, header.sequence) == (tokens[liar], 1)
        # Nobody else notices, and the step that failed can be sent anew.
        assert good.receive()[0].type == MessageType.ACTIONS
        assert liar.ask(*first(liar, 2))[0].type == MessageType.ACTIONS
