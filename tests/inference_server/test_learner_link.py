"""The server's lines to the learner: a real server process, and the test as a learner that misbehaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from corral.protocol import (
    Failure,
    Hello,
    MessageType,
    TensorSpec,
    WeightManifest,
    fetch_status,
    open_router,
    pack_control,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.tensors import checksum
from corral.protocol.weights import pack_weights
from tests.support.processes import process, until
from tests.support.scripted_agent import ScriptedAgent

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
        ([good[0], b"abcd"], "the checksum of version 11 does not match"),
        (with_manifest(good, checksum=checksum([])), "does not match"),
        (with_manifest(good, tensors=wire | {"x": ["no"]}), "a tensor spec is"),
        ([good[0][:-3], good[1]], "no msgpack"),
    ):
        assert text in learner.push(bad)
        assert learner.status()["policy_version"] == 10
    assert learner.push(good) == ""
    assert learner.status()["policy_version"] == 11
    assert learner.status()["weights_refused"] == 13


def test_the_same_version_again_is_taken_without_ado(learner: FakeLearner) -> None:
    learner.push(pack_weights(3, 20, weights(20)))
    assert learner.push(pack_weights(3, 20, weights(20))) == ""


def test_a_later_epoch_begins_anew(learner: FakeLearner) -> None:
    learner.push(pack_weights(3, 500, weights(500)))
    assert learner.push(pack_weights(4, 1, weights(1))) == ""
    status = learner.status()
    assert (status["epoch"], status["policy_version"]) == (4, 1)
