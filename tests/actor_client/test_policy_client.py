"""`corral serve` in a process of its own, and clients in threads, processes and forks around it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from actor_client import PolicyClient, UnansweredError
from corral.protocol import (
    AddressError,
    ErrorCode,
    Failure,
    Header,
    MessageType,
    ProtocolError,
    TensorSpec,
    Welcome,
    fetch_status,
    open_router,
    pack_control,
    spec_to_wire,
    unpack_header,
)
from inference_server.answers import Answers
from tests.support.models import save_two_headed_model
from tests.support.processes import process, until_serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    folder = tmp_path_factory.mktemp("served")
    model = save_two_headed_model(folder / "policy.keras")
    address = f"ipc://{folder}/server"
    options = ("--address", address, "--max-size", "64")
    with process("-m", "corral.cli", "serve", str(folder / "policy.keras"), *options):
        until_serving(address)
        yield address, model


def expected(model: Any, observation: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in model(observation.astype(np.float32)).items()}


def check(answer: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert answer.keys() == wanted.keys()
    for name, leaf in wanted.items():
        np.testing.assert_allclose(answer[name], leaf, rtol=1e-5, atol=1e-5)


def test_it_says_what_it_takes_and_gives(served: tuple[str, Any]) -> None:
    with PolicyClient(served[0]) as client:
        assert {name: leaf.shape for name, leaf in client.observation.items()} == {"observation": (4,)}
        assert {name: leaf.shape for name, leaf in client.outputs.items()} == {"logits": (2,), "value": (1,)}


def test_32_threads_share_one_client_and_every_answer_is_theirs(served: tuple[str, Any]) -> None:
    address, model = served
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(32, 50, 3, 4)).astype(np.float32)
    wanted = {
        name: leaf.reshape(32, 50, 3, -1) for name, leaf in expected(model, observations.reshape(-1, 4)).items()
    }
    barrier = threading.Barrier(32)
    with PolicyClient(address) as client:

        def ask(thread: int) -> None:
            barrier.wait()
            for turn in range(50):
                answer = client.infer(observations[thread, turn])
                check(answer, {name: leaf[thread, turn] for name, leaf in wanted.items()})

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(ask, range(32)))
    status = fetch_status(address)
    assert status is not None
    assert status["mean_batch"] > 3.5, "requests of different threads rode together"


def test_the_same_threads_on_model_predict(served: tuple[str, Any]) -> None:
    """What the question behind this project did: the answers agree, at a fraction of the speed."""
    _, model = served
    observations = np.random.default_rng(1).normal(size=(32, 3, 4)).astype(np.float32)
    wanted = [expected(model, rows) for rows in observations]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda rows: model.predict(rows, verbose=0), observations))
    for answer, want in zip(answers, wanted, strict=True):
        check(answer, want)


def test_answers_are_the_callers_to_change(served: tuple[str, Any]) -> None:
    with PolicyClient(served[0]) as client:
        client.infer(np.zeros((2, 4)))["logits"][:] = 1


def test_many_rows_are_sent_in_parts(served: tuple[str, Any]) -> None:
    address, model = served
    observation = np.random.default_rng(2).normal(size=(200, 4)).astype(np.float32)
    with PolicyClient(address) as client:
        check(client.infer(observation), expected(model, observation))
        assert client.infer(observation[:0])["logits"].shape == (0, 2)


def test_numbers_of_another_precision_are_converted(served: tuple[str, Any]) -> None:
    address, model = served
    observation = np.random.default_rng(3).normal(size=(3, 4))
    with PolicyClient(address) as client:
        check(client.infer(observation), expected(model, observation))
        check(client.infer(observation.tolist()), expected(model, observation))
        check(client.infer({"observation": observation}), expected(model, observation))


@pytest.mark.parametrize(
    ("observation", "text"),
    [
        (np.zeros((2, 5), np.float32), r"float32\[4\].*got float32\[2, 5\]"),
        (np.zeros(4, np.float32), r"float32\[rows, 4\]; got float32\[4\]"),
        (np.zeros((2, 4), np.complex64), "complex64"),
        (np.array([["a"] * 4]), "<U1"),
        ({"wrong": np.zeros((2, 4))}, r"\['observation'\], not \['wrong'\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_sides(served: tuple[str, Any], observation: Any, text: str) -> None:
    with PolicyClient(served[0]) as client, pytest.raises(ProtocolError, match=text) as refused:
        client.infer(observation)
    assert refused.value.code is ErrorCode.SPEC


def _infer_in_child(client: PolicyClient, observation: np.ndarray, queue: Any) -> None:
    queue.put(client.infer(observation)["logits"])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_sockets_of_its_own(served: tuple[str, Any]) -> None:
    address, model = served
    observation = np.random.default_rng(4).normal(size=(2, 4)).astype(np.float32)
    wanted = expected(model, observation)
    fork = multiprocessing.get_context("fork")
    with PolicyClient(address) as client:
        check(client.infer(observation), wanted)
        queue = fork.Queue()
        children = [fork.Process(target=_infer_in_child, args=(client, observation, queue)) for _ in range(4)]
        for child in children:
            child.start()
        for _ in children:
            np.testing.assert_allclose(queue.get(timeout=30), wanted["logits"], rtol=1e-5, atol=1e-5)
        for child in children:
            child.join(10)
            assert child.exitcode == 0
        check(client.infer(observation), wanted)


class BusyServer(threading.Thread):
    """Greets everybody, and refuses so many INFERs with BUSY before it answers with zeros."""

    def __init__(self, address: str, refusals: int) -> None:
        super().__init__()
        self.asked: list[int] = []
        self._refusals = refusals
        self._context = zmq.Context()
        self._socket = open_router(self._context, address)
        self._stopping = False

    def __enter__(self) -> BusyServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self.join(10)

    def run(self) -> None:
        while not self._stopping:
            if self._socket.poll(20):
                routing, head, *_ = self._socket.recv_multipart()
                self._socket.send_multipart([routing, self._answer(unpack_header(head))])
        self._context.destroy(linger=0)

    def _answer(self, header: Header) -> bytes:
        number = {"number": TensorSpec((), "float32")}
        if header.type == MessageType.HELLO:
            wire = spec_to_wire(number)
            welcome = Welcome(1, 0, 0, observation=wire, output=wire, max_rows=8, lease_s=1.0, policy_version=1,
                              cursor=0, window=1)  # fmt: skip
            return pack_control(MessageType.WELCOME, 0, header.sequence, welcome)
        self.asked.append(header.sequence)
        if len(self.asked) <= self._refusals:
            return pack_control(MessageType.ERROR, 0, header.sequence, Failure("BUSY", "later"))
        zeros = {"number": np.zeros(header.rows, np.float32)}
        return Answers(MessageType.OUTPUTS, zeros, ["number"], 1).cut(0, header.sequence, 0, header.rows)


def test_a_busy_server_is_asked_again_under_another_number(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/busy"
    with BusyServer(address, refusals=3) as server, PolicyClient(address) as client:
        assert client.infer(np.zeros(2))["number"].tolist() == [0, 0]
        assert len(set(server.asked)) == 4


def test_a_server_that_stays_busy_is_told_after_the_timeout(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/busy"
    with BusyServer(address, refusals=10**9) as server, PolicyClient(address, timeout_s=0.3) as client:
        with pytest.raises(ProtocolError, match="later") as refused:
            client.infer(np.zeros(2))
        assert refused.value.code is ErrorCode.BUSY
        assert 2 < len(server.asked) < 12


def test_nobody_there_is_told_after_the_timeout(tmp_path: Path) -> None:
    client = PolicyClient(f"ipc://{tmp_path}/nobody", timeout_s=0.2)
    with client, pytest.raises(UnansweredError, match="does a server run there"):
        client.infer(np.zeros((1, 4)))


def test_a_malformed_address_is_told_at_once() -> None:
    with pytest.raises(AddressError, match="write tcp://HOST:PORT"):
        PolicyClient("localhost:5555")
