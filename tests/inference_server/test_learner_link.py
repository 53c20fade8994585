"""The server's lines to the learner: a real server process or the link alone, and the test as the learner."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from actor_client import PolicyClient
from corral.protocol import (
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    TensorSpec,
    WeightManifest,
    Welcome,
    fetch_status,
    open_router,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.tensors import checksum
from corral.protocol.unrolls import Columns, unroll_spec
from corral.protocol.weights import pack_weights
from inference_server import learner_link
from inference_server.engine import Engine
from inference_server.learner_link import LearnerLink
from inference_server.outbox import MAX_EPISODES, Outbox
from learner import UnrollSource, WeightPublisher
from tests.support.processes import process, until
from tests.support.raw import RawPeer
from tests.support.scripted_agent import UNROLL_LENGTH, ScriptedAgent

NAME = "policy/stamp/kernel"


class FakeLearner:
    """The weights line of a learner, and a server that has greeted it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address = f"ipc://{folder}/server"
        self._context = zmq.Context()
        self._socket = open_router(self._context, f"ipc://{folder}/weights")
        arguments = (self.address, f"ipc://{folder}/unrolls", f"ipc://{folder}/weights")
        stack.callback(self._context.destroy, linger=0)
        self.server = stack.enter_context(process("-m", "tests.support.scripted_server", *arguments))
        self.routing = b""
        self.greeting()

    def greeting(self) -> tuple[int, int]:
        """Epoch and version that the server says it holds."""
        while True:
            self.routing, frame = self._receive()
            header = unpack_header(frame)
            if header.type == MessageType.HELLO:
                return unpack_control(Hello, frame).epoch, header.sequence

    def push(self, frames: list[bytes | memoryview]) -> str:
        """Push a version; "" where it was taken, else the reason for its refusal."""
        self._socket.send_multipart([self.routing, *frames])
        while True:
            _, frame = self._receive()
            kind = unpack_header(frame).type
            if kind == MessageType.TAKEN:
                return ""
            if kind == MessageType.ERROR:
                return unpack_control(Failure, frame).text

    def status(self) -> dict:
        status = fetch_status(self.address, 10)
        assert status is not None
        return status

    def _receive(self) -> tuple[bytes, bytes]:
        if not self._socket.poll(30_000):
            raise TimeoutError("the server says nothing")
        routing, frame = self._socket.recv_multipart()
        return routing, frame


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeLearner]:
    with ExitStack() as stack:
        yield FakeLearner(tmp_path_factory.mktemp("link"), stack)


def weights(stamp: float) -> dict[str, np.ndarray]:
    return ScriptedAgent().weights(0) | {NAME: np.full((1, 1), stamp, np.float32)}


def with_manifest(frames: list, **changes: object) -> list:
    header = unpack_header(frames[0])
    manifest = dataclasses.replace(unpack_control(WeightManifest, frames[0]), **changes)
    return [pack_control(MessageType.WEIGHTS, header.session, header.sequence, manifest), *frames[1:]]


def test_it_is_not_ready_until_it_has_weights_and_says_what_it_holds(learner: FakeLearner) -> None:
    assert learner.greeting() == (0, 0)
    assert not learner.status()["ready"]
    assert learner.push(pack_weights(3, 10, weights(10))) == ""
    assert learner.status()["ready"]
    assert learner.status()["policy_version"] == 10
    assert until(lambda: learner.greeting() == (3, 10))


def test_bad_weights_are_refused_with_a_reason_and_the_last_good_ones_act_on(learner: FakeLearner) -> None:
    learner.push(pack_weights(3, 10, weights(10)))
    good = pack_weights(3, 11, weights(11))
    other = {"policy/other": np.zeros((1, 1), np.float32)}
    wire = spec_to_wire({NAME: TensorSpec((1, 1), "float32")})
    for bad, text in (
        (pack_weights(3, 11, weights(np.nan)), f"1 of 1 values of '{NAME}' are not finite"),
        (pack_weights(3, 11, {}), f"tensors are missing: ['{NAME}']"),
        (pack_weights(3, 11, other), "unknown: ['policy/other']"),
        (pack_weights(3, 11, {NAME: np.zeros((2, 1), np.float32)}), "float32[1, 1] here, float32[2, 1] was pushed"),
        (pack_weights(3, 11, {NAME: np.zeros((1, 1), np.float64)}), "float64[1, 1] was pushed"),
        (pack_weights(3, 9, weights(9)), "epoch 3 version 9 is older than epoch 3 version 10"),
        (pack_weights(2, 99, weights(9)), "epoch 2 version 99 is older"),
        ([good[0], good[1][:-1]], "4 bytes; the frame has 3"),
        (good[:1], "got 0 frames"),
        ([*good, b""], "got 2 frames"),
        ([*good, *[b""] * 50_000], "1 tensors make"),
        (pack_weights(2**63, 1, weights(11)), f"at most {2**63 - 1}"),
        (pack_weights(3, 2**64 - 1, weights(11)), f"at most {2**63 - 1}"),
        ([good[0], b"abcd"], "the checksum of version 11 does not match"),
        (with_manifest(good, checksum=checksum([])), "does not match"),
        (with_manifest(good, tensors=wire | {"x": ["no"]}), "a tensor spec is"),
        ([good[0][:-3], good[1]], "no msgpack"),
    ):
        assert text in learner.push(bad)
        assert learner.status()["policy_version"] == 10
    assert learner.push(good) == ""
    assert learner.status()["policy_version"] == 11
    assert learner.status()["weights_refused"] == 17


def test_after_bad_weights_the_last_good_ones_answer_actors(learner: FakeLearner) -> None:
    good = pack_weights(3, 15, weights(15))
    assert learner.push(good) == ""
    with RawPeer(learner.address) as client:
        row = np.array([[1, 2, 3, 4]], np.int64)
        for bad in (pack_weights(3, 16, weights(np.inf)), pack_weights(3, 14, weights(1)), pack_weights(3, 16, {})):
            assert learner.push(bad) != ""
            header, (answer,) = client.ask(pack_header(MessageType.INFER, 0, 1, 1), row.tobytes())
            assert header.type == MessageType.OUTPUTS
            assert int.from_bytes(answer[24:32], "little") == 15
            assert np.frombuffer(answer, np.float32, 1, 32 + 8 + 32).tolist() == [15.0]


def test_the_same_version_again_is_taken_without_ado(learner: FakeLearner) -> None:
    learner.push(pack_weights(3, 20, weights(20)))
    assert learner.push(pack_weights(3, 20, weights(20))) == ""


def test_a_later_epoch_begins_anew(learner: FakeLearner) -> None:
    learner.push(pack_weights(3, 500, weights(500)))
    assert learner.push(pack_weights(4, 1, weights(1))) == ""
    status = learner.status()
    assert (status["epoch"], status["policy_version"]) == (4, 1)


def test_two_learners_at_once_are_never_mixed(learner: FakeLearner) -> None:
    learner.push(pack_weights(9, 1, weights(1)))
    with PolicyClient(learner.address) as client:
        for version in range(2, 30):
            refusal = learner.push(pack_weights(8, 1000 + version, weights(1000 + version)))
            assert f"epoch 8 version {1000 + version} is older than epoch 9 version {version - 1}" in refusal
            assert client.infer(np.zeros((1, 4), np.int64))["stamp"] == version - 1
            assert learner.push(pack_weights(9, version, weights(version))) == ""
            assert client.infer(np.zeros((1, 4), np.int64))["stamp"] == version


# --- The link itself, in this process: the test serves, or rather does not ----------------------------------------


class Rig:
    """A link with an engine and an outbox, and the test in the place of the serving thread and of the learner."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.unrolls, self.weights = f"ipc://{folder}/unrolls", f"ipc://{folder}/weights"
        agent = ScriptedAgent()
        self.spec = unroll_spec(agent.spec.observation, agent.spec.outputs, agent.spec.state)
        self.engine = Engine(agent, (1,), learns=True)
        self.engine.warm()
        self.outbox = Outbox("block")
        self.woken = threading.Event()
        self.link = LearnerLink(
            self.unrolls,
            self.weights,
            self.spec,
            UNROLL_LENGTH,
            self.engine,
            self.outbox,
            self.woken.set,
        )
        stack.callback(self.end)
        self.link.start()

    def end(self) -> float:
        """End the link as the server does; how many seconds it took."""
        begun = time.monotonic()
        self.engine.close()
        self.link.stop()
        self.link.join(20)
        assert not self.link.is_alive()
        return time.monotonic() - begun

    def flip(self) -> None:
        """Flip once there is something to flip to."""
        until(self.engine.flip, what="an offer")

    def put(self, *numbers: int, episodes: list[list[float]] | None = None) -> None:
        """Complete unrolls, each full of its number, of one step each."""
        leaves = {name: leaf.zeros(UNROLL_LENGTH + 1, len(numbers)) for name, leaf in self.spec["time"].items()}
        leaves |= {name: leaf.zeros(len(numbers)) for name, leaf in self.spec["state"].items()}
        leaves["reward"][:] = numbers
        self.outbox.put([Columns(leaves, len(numbers))], len(numbers), episodes or [])
        self.link.waker.wake()


class RawLearner:
    """One line of a learner: says what it is told to, and hears everything."""

    def __init__(self, address: str, stack: ExitStack) -> None:
        self._context = zmq.Context()
        self._socket = open_router(self._context, address)
        self.routing = b""
        stack.callback(self._context.destroy, linger=0)

    def send(self, *frames: bytes | memoryview) -> None:
        self._socket.send_multipart([self.routing, *frames])

    def receive(self) -> tuple[Header, bytes]:
        """The next message: its header, and the frame that holds it."""
        if not self._socket.poll(20_000):
            raise TimeoutError("the link says nothing")
        self.routing, frame, *_ = self._socket.recv_multipart()
        return unpack_header(frame), frame

    def heard(self) -> list[Header]:
        """The headers of all that has come so far."""
        headers = []
        while self._socket.poll(0):
            headers.append(self.receive()[0])
        return headers

    def next(self, kind: MessageType) -> Header:
        """The next message of a kind; others are skipped."""
        while True:
            header, _ = self.receive()
            if header.type == kind:
                return header

    def welcome(self, hello: Header, cursor: int, window: int = 8) -> None:
        body = Welcome(1, 0, 0, {}, {}, 0, 0.0, 0, cursor=cursor, window=window)
        self.send(pack_control(MessageType.WELCOME, hello.session, hello.sequence, body))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def rig(tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Rig:
    # Lost messages are made good by time: here it takes less of it.
    monkeypatch.setattr(learner_link, "GREET_EVERY_S", 0.02)
    monkeypatch.setattr(learner_link, "RESEND_AFTER_S", (0.05, 0.2))
    return Rig(tmp_path, stack)


def rewards(source: UnrollSource, unrolls: int) -> list[int]:
    unroll = source.next(unrolls, timeout_s=20)
    assert unroll is not None
    return unroll.reward[0].astype(int).tolist()


def test_taken_is_said_after_the_flip(rig: Rig, stack: ExitStack) -> None:
    learner = RawLearner(rig.weights, stack)
    learner.next(MessageType.HELLO)
    learner.send(*pack_weights(1, 1, weights(1)))
    assert rig.woken.wait(20)
    assert not rig.engine.ready
    assert all(header.type == MessageType.HELLO for header in learner.heard())
    rig.flip()
    taken = learner.next(MessageType.TAKEN)
    assert (taken.session, taken.sequence) == (1, 1) == (rig.engine.epoch, rig.engine.version)


def test_a_flip_that_takes_too_long_is_no_refusal(
    rig: Rig, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner would never send a version again that was refused, and there may be no later one."""
    monkeypatch.setattr(learner_link, "FLIP_TIMEOUT_S", 0.01)
    learner = RawLearner(rig.weights, stack)
    learner.next(MessageType.HELLO)
    learner.send(*pack_weights(1, 1, weights(1)))
    assert rig.woken.wait(20)
    for _ in range(3):
        assert learner.receive()[0].type == MessageType.HELLO
    assert rig.link.refused == 0
    monkeypatch.setattr(learner_link, "FLIP_TIMEOUT_S", 20)
    learner.send(*pack_weights(1, 1, weights(1)))
    rig.flip()
    assert learner.next(MessageType.TAKEN).sequence == 1


def test_a_defect_costs_a_message_and_not_the_thread(
    rig: Rig, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("out of memory")

    learner = RawLearner(rig.weights, stack)
    learner.next(MessageType.HELLO)
    with monkeypatch.context() as patch:
        patch.setattr(rig.engine, "offer", fail)
        learner.send(*pack_weights(1, 1, weights(1)))
        until(lambda: "out of memory" in rig.link.failure)
    learner.send(*pack_weights(1, 1, weights(1)))
    rig.flip()
    assert learner.next(MessageType.TAKEN).sequence == 1


def test_it_ends_at_once_while_a_version_waits_for_its_flip(rig: Rig, stack: ExitStack) -> None:
    learner = RawLearner(rig.weights, stack)
    learner.next(MessageType.HELLO)
    learner.send(*pack_weights(1, 1, weights(1)))
    assert rig.woken.wait(20)
    assert rig.end() < 2
    assert rig.link.refused == 0


def test_it_ends_at_once_without_a_learner(rig: Rig) -> None:
    rig.put(1, 2)
    assert rig.end() < 2


def test_a_learner_that_comes_late_is_found(rig: Rig, stack: ExitStack) -> None:
    rig.put(1, 2)
    assert rig.outbox.blocked
    source = stack.enter_context(UnrollSource(rig.unrolls, queue=4))
    publisher = stack.enter_context(WeightPublisher(rig.weights))
    publisher.publish(weights(1))
    rig.flip()
    assert rig.engine.epoch == publisher.epoch
    assert rewards(source, 2) == [1, 2]
    until(lambda: not rig.outbox.blocked)


def test_what_a_learner_had_not_accepted_goes_to_the_next_one(rig: Rig, stack: ExitStack) -> None:
    with UnrollSource(rig.unrolls, queue=2) as first, WeightPublisher(rig.weights, epoch=7) as publisher:
        publisher.publish(weights(1), version=500)
        rig.flip()
        rig.put(1, 2)
        assert rewards(first, 1) == [1]
        rig.put(3)
        until(lambda: rig.outbox.accepted_unrolls == 3)
        # 2 and 3 fill its queue: 4 is sent, and accepted by nobody.
        rig.put(4)
        until(lambda: not rig.outbox.unsent)
        assert first.unrolls == 3
    assert rig.engine.version == 500
    rig.put(5)

    second = stack.enter_context(UnrollSource(rig.unrolls, queue=8))
    assert rewards(second, 2) == [4, 5]
    assert second.env_steps == 2
    publisher = stack.enter_context(WeightPublisher(rig.weights, epoch=8))
    publisher.publish(weights(1))
    rig.flip()
    assert (rig.engine.epoch, rig.engine.version) == (8, 1)
    rig.put(6)
    assert rewards(second, 1) == [6]
    until(lambda: rig.outbox.accepted_unrolls == 6)


def test_a_learner_that_leaves_says_so(rig: Rig, stack: ExitStack) -> None:
    with UnrollSource(rig.unrolls, queue=1) as source:
        rig.put(1)
        until(lambda: rig.outbox.accepted_unrolls == 1)
        assert (rig.link.welcomed, rig.link.parted) == (True, False)
    assert source.unrolls == 1
    until(lambda: rig.link.parted)
    assert not rig.link.welcomed
    rig.put(2)
    stack.enter_context(UnrollSource(rig.unrolls, queue=1))
    until(lambda: rig.outbox.accepted_unrolls == 2)
    assert (rig.link.welcomed, rig.link.parted) == (True, False)


def test_words_to_another_server_change_nothing(rig: Rig, stack: ExitStack) -> None:
    learner = RawLearner(rig.unrolls, stack)
    rig.put(1)
    hello = learner.next(MessageType.HELLO)
    learner.welcome(hello._replace(session=hello.session ^ 1), cursor=5)
    until(lambda: "not to this server" in rig.link.failure)
    assert not rig.link.welcomed
    learner.welcome(hello, cursor=0)
    parcel = learner.next(MessageType.UNROLLS)
    learner.send(pack_header(MessageType.ACCEPTED, parcel.session ^ 1, 1))
    until(lambda: "not to this server" in rig.link.failure)
    assert rig.outbox.accepted_unrolls == 0
    learner.send(pack_header(MessageType.ACCEPTED, parcel.session, 1))
    until(lambda: rig.outbox.accepted_unrolls == 1)


def test_a_late_word_of_the_learner_before_loses_nothing(rig: Rig, stack: ExitStack) -> None:
    learner = RawLearner(rig.unrolls, stack)
    rig.put(1)
    learner.welcome(learner.next(MessageType.HELLO), cursor=0)
    parcel = learner.next(MessageType.UNROLLS)
    learner.send(pack_control(MessageType.ERROR, parcel.session, 1, Failure(ErrorCode.EXPIRED, "who are you?")))
    # The next learner is told to begin at 1; so what is heard of the last one now must not take 1 away.
    learner.send(pack_header(MessageType.ACCEPTED, parcel.session, 1))
    hello = learner.next(MessageType.HELLO)
    assert hello.sequence == 1
    learner.welcome(hello, cursor=0)
    assert learner.next(MessageType.UNROLLS).sequence == 1
    learner.send(pack_header(MessageType.ACCEPTED, parcel.session, 1))
    until(lambda: rig.outbox.accepted_unrolls == 1)


def test_words_that_come_twice_or_out_of_order_change_nothing(rig: Rig, stack: ExitStack) -> None:
    learner = RawLearner(rig.unrolls, stack)
    hello = learner.next(MessageType.HELLO)
    learner.welcome(hello, cursor=0)
    for number in (1, 2, 3):
        rig.put(number)
        while learner.next(MessageType.UNROLLS).sequence < number:
            pass  # sent again
    for accepted in (2, 1, 2, 0):
        learner.send(pack_header(MessageType.ACCEPTED, hello.session, accepted))
    learner.welcome(hello, cursor=1)
    until(lambda: rig.outbox.accepted_unrolls == 2)
    while learner.next(MessageType.UNROLLS).sequence != 3:
        pass
    learner.send(pack_header(MessageType.ACCEPTED, hello.session, 3))
    until(lambda: rig.outbox.accepted_unrolls == 3)
    assert rig.outbox.first_sequence == 4


def test_the_server_is_woken_when_its_actors_may_go_on(rig: Rig, stack: ExitStack) -> None:
    source = stack.enter_context(UnrollSource(rig.unrolls, queue=2))
    assert rig.woken.wait(20)
    until(lambda: rig.outbox.window == 2)
    rig.put(1, 2)
    until(lambda: rig.outbox.accepted_unrolls == 2)
    rig.put(3, 4)
    until(lambda: not rig.outbox.unsent)
    assert rig.outbox.blocked
    rig.woken.clear()
    assert rewards(source, 2) == [1, 2]
    assert rig.woken.wait(20)
    assert not rig.outbox.blocked


def test_a_long_absence_makes_no_parcel_that_a_learner_must_refuse(rig: Rig, stack: ExitStack) -> None:
    rig.outbox = rig.link._outbox = Outbox("shed")
    for episode in range(100_000):
        rig.outbox.put([], 1, [[float(episode), 1]])
    assert rig.outbox.shed_episodes == 100_000 - MAX_EPISODES
    rig.put(1)
    source = stack.enter_context(UnrollSource(rig.unrolls, queue=2))
    assert rewards(source, 1) == [1]
    assert source.env_steps == 100_001
    assert source.episodes() == [(float(episode), 1) for episode in range(100_000 - MAX_EPISODES, 100_000)]
    assert rig.link.failure == ""


def test_a_block_keeps_every_episode() -> None:
    outbox = Outbox("block")
    leaves = Columns({"reward": np.zeros((2, 1), np.float32)}, 1)
    episodes = [[float(episode), 1] for episode in range(MAX_EPISODES + 5)]
    outbox.put([leaves], len(episodes), episodes)
    first = outbox.collect()
    outbox.put([leaves], 0, [])
    second = outbox.collect()
    assert first is not None
    assert second is not None
    assert first.manifest.episodes + second.manifest.episodes == episodes


def test_a_learner_that_has_gone_is_missed_and_the_next_one_is_found(rig: Rig) -> None:
    with UnrollSource(rig.unrolls) as first:
        until(lambda: rig.link.welcomed, what="a welcome")
        rig.put(1)
        until(lambda: first.unrolls == 1, what="an unroll")
    until(lambda: not rig.link.welcomed, what="that its end is seen")
    rig.put(2)
    with UnrollSource(rig.unrolls) as second:
        until(lambda: second.unrolls == 1, what="an unroll")
        assert rig.link.welcomed


def test_that_a_learner_has_gone_is_said_with_what_it_means_for_actors(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as life:
        learner = RawLearner(rig.unrolls, life)
        learner.welcome(learner.next(MessageType.HELLO), cursor=0, window=3)
        until(lambda: rig.link.welcomed, what="a welcome")
    until(lambda: not rig.link.welcomed, what="that its end is seen")
    assert "goes on acting, until 3 unrolls wait for it: then actors wait, too" in caplog.text
