"""The learner's output, with the test as its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
import zmq

from corral.protocol import (
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    ProtocolError,
    TensorSpec,
    pack_control,
    pack_header,
    unpack_header,
)
from corral.protocol.weights import unpack_weights
from learner import WeightPublisher, weight_publisher
from learner.weight_publisher import RESEND_AFTER_S
from tests.support.processes import until
from tests.support.raw import RawPeer

SPEC = {"policy/w": TensorSpec((2,), "float32")}


class FakeServer(RawPeer):
    def __init__(self, address: str, identity: int) -> None:
        super().__init__(address)
        self.identity = identity

    def greet(self, epoch: int = 0, version: int = 0) -> None:
        self.send(pack_control(MessageType.HELLO, self.identity, version, Hello("server", epoch=epoch)))

    def weights(self) -> tuple[int, int, float]:
        """Epoch, version and value of the next push."""
        frames = self.receive()
        header = unpack_header(frames[0])
        assert header.type == MessageType.WEIGHTS
        return header.session, header.sequence, float(unpack_weights(header, frames, SPEC)["policy/w"][0])

    def take(self, version: int) -> None:
        self.send(pack_header(MessageType.TAKEN, 5, version))

    def refuse(self, version: int, text: str) -> None:
        self.send(pack_control(MessageType.ERROR, 5, version, Failure(ErrorCode.WEIGHTS, text)))

    def unanswered(self) -> bool:
        """Whether nothing has come: a message that must be refused is answered first."""
        return self.refusal(pack_header(MessageType.STEP, 0, 0)).code == ErrorCode.UNKNOWN_TYPE


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/weights"


@pytest.fixture
def publisher(address: str) -> Iterator[WeightPublisher]:
    with WeightPublisher(address, epoch=5) as publisher:
        yield publisher


@pytest.fixture
def server(address: str, publisher: WeightPublisher) -> Iterator[FakeServer]:
    with ExitStack() as stack:
        yield stack.enter_context(FakeServer(address, 1))


def push(publisher: WeightPublisher, value: float) -> int:
    return publisher.publish({"policy/w": np.full(2, value, np.float32)})


def test_a_server_gets_the_newest_when_it_greets(publisher: WeightPublisher, server: FakeServer) -> None:
    push(publisher, 1)
    push(publisher, 2)
    server.greet()
    assert server.weights() == (5, 2, 2.0)
    server.take(2)
    server.greet(5, 2)
    assert server.unanswered()


def test_a_server_that_came_first_gets_the_first(publisher: WeightPublisher, server: FakeServer) -> None:
    server.greet()
    assert server.unanswered()
    push(publisher, 1)
    assert server.weights() == (5, 1, 1.0)


def test_a_slow_server_skips_versions(publisher: WeightPublisher, server: FakeServer) -> None:
    server.greet()
    push(publisher, 1)
    assert server.weights()[1] == 1
    for value in range(2, 9):
        push(publisher, value)
    assert server.unanswered(), "one push at a time"
    server.take(1)
    assert server.weights() == (5, 8, 8.0)


def test_a_slow_server_slows_nobody(publisher: WeightPublisher, server: FakeServer, address: str) -> None:
    server.greet()
    push(publisher, 1)
    server.weights()  # and never says that it took them
    with FakeServer(address, 2) as quick:
        quick.greet()
        for version in range(1, 6):
            assert quick.weights()[1] == version
            quick.take(version)
            push(publisher, version + 1)


def test_what_was_refused_is_told_and_not_sent_again(publisher: WeightPublisher, server: FakeServer) -> None:
    push(publisher, 1)
    server.greet()
    server.weights()
    server.refuse(1, "the network is another")
    until(lambda: publisher.last_refusal == "the network is another")
    server.greet()
    assert server.unanswered()
    push(publisher, 2)
    assert server.weights()[1] == 2


def test_a_reconnected_server_gets_what_was_on_its_way(
    publisher: WeightPublisher, server: FakeServer, address: str
) -> None:
    push(publisher, 1)
    server.greet()
    server.weights()
    with FakeServer(address, server.identity) as reconnected:
        reconnected.greet()
        assert reconnected.weights()[1] == 1


def test_a_server_that_reads_nothing_fills_no_memory(address: str) -> None:
    """Every resend is of the newest version: a frozen server must not make the learner keep them all."""
    now = [0.0]
    large = np.zeros(250_000, np.float32)
    with (
        WeightPublisher(address, epoch=5, clock=lambda: now[0]) as publisher,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as frozen,
    ):
        frozen.setsockopt(zmq.RCVHWM, 1)
        frozen.setsockopt(zmq.LINGER, 0)
        frozen.connect(address)
        frozen.send(pack_control(MessageType.HELLO, 1, 0, Hello("server")))
        until(lambda: publisher.servers == 1)
        memory = []
        for version in range(1, 101):
            publisher.publish({"policy/w": large + version})
            until(lambda version=version: publisher._peers[1].sent == (5, version))
            now[0] += RESEND_AFTER_S + 1
            memory.append(psutil.Process().memory_info().rss / 1e6)
    assert memory[-1] < memory[9] + 10


def test_silence_is_answered_by_a_resend(tmp_path: Path) -> None:
    now = [100.0]
    address = f"ipc://{tmp_path}/w"
    with WeightPublisher(address, epoch=5, clock=lambda: now[0]) as publisher, FakeServer(address, 1) as server:
        push(publisher, 1)
        server.greet()
        assert server.weights()[1] == 1
        now[0] += 4.9
        server.greet()
        assert server.unanswered()
        now[0] += 0.2
        server.greet()
        assert server.weights()[1] == 1


def test_a_greeting_that_tells_of_the_version_answers_for_it(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/w"
    # Time stands still, so nothing is sent for the reason of silence.
    with WeightPublisher(address, epoch=5, clock=lambda: 0.0) as publisher, FakeServer(address, 1) as server:
        push(publisher, 1)
        server.greet()
        server.weights()
        push(publisher, 2)
        server.greet(5, 1)  # TAKEN was lost
        assert server.weights()[1] == 2


def test_doubled_and_late_answers_change_nothing(publisher: WeightPublisher, server: FakeServer) -> None:
    server.greet()
    for version in (1, 2):
        push(publisher, version)
        assert server.weights()[1] == version
        server.take(version)
    push(publisher, 3)
    assert server.weights()[1] == 3
    for version in (1, 2, 2):
        server.take(version)
    assert server.unanswered(), "version 3 is on its way"
    server.take(3)
    assert server.unanswered()


def test_a_server_that_begins_anew_gets_the_newest_at_once(
    publisher: WeightPublisher, server: FakeServer, address: str
) -> None:
    push(publisher, 1)
    server.greet()
    server.weights()
    server.take(1)
    with FakeServer(address, 2) as anew:
        anew.greet()
        assert anew.weights() == (5, 1, 1.0)
    assert publisher.servers == 2


def test_what_is_not_finite_is_never_published(publisher: WeightPublisher, server: FakeServer) -> None:
    push(publisher, 1)
    for bad in (np.nan, np.inf):
        with pytest.raises(ProtocolError, match="2 of 2 values of 'policy/w' are not finite"):
            push(publisher, bad)
    assert publisher.version == 1
    server.greet()
    assert server.weights() == (5, 1, 1.0)


def test_versions_rise(publisher: WeightPublisher) -> None:
    weights = {"policy/w": np.zeros(2, np.float32)}
    assert publisher.publish(weights, version=10) == 10
    assert publisher.publish(weights) == 11
    for version in (11, 3):
        with pytest.raises(ValueError, match="not higher than 11"):
            publisher.publish(weights, version=version)


def test_the_arrays_are_the_callers_again(publisher: WeightPublisher, server: FakeServer) -> None:
    array = np.ones(2, np.float32)
    publisher.publish({"policy/w": array})
    array[:] = 9
    server.greet()
    assert server.weights()[2] == 1.0


def test_strangers_and_garbage_are_refused(publisher: WeightPublisher, server: FakeServer) -> None:
    assert server.refusal(pack_header(MessageType.TAKEN, 5, 1)).code == ErrorCode.EXPIRED
    assert server.refusal(b"x").code == ErrorCode.MALFORMED
    server.greet()
    push(publisher, 1)
    assert server.weights()[1] == 1


def test_a_later_publisher_is_a_later_epoch(tmp_path: Path) -> None:
    with WeightPublisher(f"ipc://{tmp_path}/a") as first:
        pass
    with WeightPublisher(f"ipc://{tmp_path}/b") as second:
        assert second.epoch >= first.epoch > 1_600_000_000_000


def test_closing_frees_the_address(address: str) -> None:
    for _ in range(2):
        WeightPublisher(address).close()
        assert not Path(address.removeprefix("ipc://")).exists()


def test_a_later_life_counts_on_in_a_later_epoch(address: str) -> None:
    with WeightPublisher(address, epoch=5) as first:
        first.publish({"policy/w": np.zeros(2, np.float32)})
        first.publish({"policy/w": np.ones(2, np.float32)})
    with WeightPublisher(address, epoch=6, version=first.version) as second, FakeServer(address, 1) as server:
        server.greet(5, 2)
        assert server.unanswered()  # nothing was published in this life yet
        assert second.publish({"policy/w": np.full(2, 3, np.float32)}) == 3
        assert server.weights() == (6, 3, 3.0)


def test_a_learner_whose_clock_was_set_back_is_the_later_one_all_the_same(
    publisher: WeightPublisher, server: FakeServer
) -> None:
    push(publisher, 1)
    server.greet(9, 40)
    assert server.weights() == (10, 1, 1.0)
    assert publisher.epoch == 10
    push(publisher, 2)
    server.greet(10, 1)
    assert server.weights() == (10, 2, 2.0)


def test_a_learner_whose_place_was_taken_does_not_take_it_back(
    publisher: WeightPublisher, server: FakeServer
) -> None:
    push(publisher, 1)
    server.greet()
    server.weights()
    server.take(1)
    server.greet(9, 1)
    assert server.weights() == (5, 1, 1.0)
    server.refuse(1, "it is older")
    until(lambda: publisher.last_refusal == "it is older")
    push(publisher, 2)
    assert server.weights() == (5, 2, 2.0)
    assert publisher.epoch == 5


def test_an_epoch_beyond_all_is_nobodys(publisher: WeightPublisher, server: FakeServer) -> None:
    push(publisher, 1)
    server.greet(2**63, 1)
    assert server.weights() == (5, 1, 1.0)


def test_strangers_who_only_greet_are_forgotten(
    publisher: WeightPublisher, server: FakeServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_publisher, "MAX_SERVERS", 3)
    push(publisher, 1)
    with ExitStack() as stack:
        for identity in range(1000, 1006):
            stranger = stack.enter_context(FakeServer(address, identity))
            stranger.greet(5, 1)
            assert stranger.unanswered()
        assert list(publisher._peers) == [1003, 1004, 1005]
        assert publisher.servers == 6
        server.greet()
        assert server.weights() == (5, 1, 1.0)


def test_a_connection_that_goes_by_many_names_is_sent_weights_for_the_last(
    publisher: WeightPublisher, server: FakeServer, address: str
) -> None:
    with FakeServer(address, 0) as stranger:
        for identity in range(1000, 1100):
            stranger.identity = identity
            stranger.greet()
        assert stranger.unanswered()
        server.greet()
        assert server.unanswered()
        push(publisher, 1)
        assert stranger.weights() == (5, 1, 1.0)
        assert stranger.unanswered()
        assert server.weights() == (5, 1, 1.0)


def test_only_servers_are_greeted(publisher: WeightPublisher, server: FakeServer) -> None:
    push(publisher, 1)
    refusal = server.refusal(pack_control(MessageType.HELLO, 1, 0, Hello("actor")))
    assert (refusal.code, refusal.text) == (ErrorCode.MALFORMED, "a learner greets \"server\", not 'actor'")
    assert server.refusal(pack_header(MessageType.STEP, 5, 1)).code == ErrorCode.UNKNOWN_TYPE
