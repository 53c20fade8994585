"""A server that is asked to stop: what it still answers, what it refuses, and that nothing complete is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actor_client import PolicyClient
from corral.protocol import (
    ROW,
    Change,
    ErrorCode,
    Hello,
    MessageType,
    RowFlags,
    Welcome,
    fetch_status,
    pack_control,
    pack_header,
    send_command,
    unpack_header,
)
from tests.support.processes import Process, until, until_serving
from tests.support.raw import RawPeer, body
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_run import ScriptedRun as Run

AGENT = ScriptedAgent()
ROWS = np.arange(8, dtype=np.int64).reshape(2, 4)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        yield Run(tmp_path, stack)


def status(run: Run) -> dict[str, Any]:
    figures = fetch_status(run.address, 10)
    assert figures is not None
    return figures


def step(token: int, sequence: int, flags: RowFlags = RowFlags.FIRST) -> list[bytes]:
    """Two rows."""
    table = np.array([(0.0, 0, flags), (0.0, 1, flags)], ROW)
    return [pack_header(MessageType.STEP, token, sequence, rows=2) + table.tobytes(), ROWS.tobytes()]


def join(peer: RawPeer) -> int:
    _, frames = peer.ask(pack_control(MessageType.HELLO, 77, 1, AGENT.hello(2, 1000)))
    return int(body(Welcome, frames).session)


def begin_to_block(run: Run) -> None:
    """Take no unrolls any more, until the server makes its actors wait."""
    # As many as the learner's window: before it has told that, a single one blocks.
    until(lambda: status(run)["blocked"] and status(run)["unrolls_waiting"] >= 64, what="a block")


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.long)])
def test_everything_that_came_is_answered_and_all_that_is_complete_is_accepted(run: Run, replicas: int) -> None:
    server = run.start_server(drain_s=60, replicas=replicas)
    run.publish()
    until_serving(run.address)
    actors = [run.start_actor(mode) for mode in ("SINGLE", "NEXT_STEP")]
    run.see(500)
    begin_to_block(run)
    patient = PolicyClient(run.address, timeout_s=60)
    assert patient.infer(ROWS)["action"].shape == (2,)
    pool = ThreadPoolExecutor(1)
    with RawPeer(run.address) as actor, RawPeer(run.address) as client:
        token = join(actor)
        # The step waits for the learner, the rows for a fuller batch: and both have come when STATUS is answered.
        client.ask(pack_control(MessageType.SET, 0, 0, Change({"server.batching.timeout_us": 10_000_000})))
        actor.send(*step(token, 1))
        assert actor.silent()
        client.send(pack_header(MessageType.INFER, 0, 5, rows=2), ROWS.tobytes())
        assert client.silent()

        server.popen.terminate()
        first = actor.receive()
        assert unpack_header(first[0]).type == MessageType.ACTIONS
        assert unpack_header(client.receive()[0]).type == MessageType.OUTPUTS

        # Nothing new is taken in; what was answered is answered again.
        assert actor.refusal(*step(token, 2, RowFlags(0))).code == ErrorCode.DRAINING
        assert actor.ask(*step(token, 1))[1] == first
        assert (
            client.refusal(pack_control(MessageType.HELLO, 78, 1, AGENT.hello(2, 1000))).code == ErrorCode.DRAINING
        )
        assert client.refusal(pack_control(MessageType.HELLO, 0, 1, Hello("client"))).code == ErrorCode.DRAINING
        infer = (pack_header(MessageType.INFER, 0, 6, rows=2), ROWS.tobytes())
        assert client.refusal(*infer).code == ErrorCode.DRAINING
        later = pool.submit(patient.infer, ROWS)
        figures = status(run)
    assert not figures["ready"]
    assert figures["unrolls_waiting"] >= 64
    complete = figures["unrolls_accepted"] + figures["unrolls_waiting"]
    assert server.popen.poll() is None

    while run.source.unrolls < complete:
        # One at a time: there is one more at least, and there may be fewer than a handful.
        left = run.source.next(1, timeout_s=60)
        assert left is not None
        run.witness.see(left)
    assert server.popen.wait(20) == 0
    assert run.source.unrolls == complete
    assert "lost" not in server.output
    assert not Path(run.address.removeprefix("ipc://")).exists()
    while (left := run.source.next(1, timeout_s=0)) is not None:
        run.witness.see(left)

    # Actors and clients wait for another one, whenever that comes.
    assert [actor.popen.poll() for actor in actors] == [None, None]
    assert not later.done()
    run.witness.expect_reset()
    another = run.start_server(drain_s=60)
    until_serving(run.address)
    run.see(500)
    assert later.result(20)["action"].shape == (2,)

    # An operator's word does what the signal does; and a learner that leaves is not waited for.
    begin_to_block(run)
    assert send_command(run.address, "drain", 10)
    until(lambda: not status(run)["ready"], what="a drain")
    assert another.popen.poll() is None
    run.source.close()
    assert_lost(another, "the learner had left")
    assert [actor.end() for actor in actors] == [0, 0]


def assert_lost(server: Process, why: str) -> None:
    """It ends by itself, in order, and tells what was lost."""
    assert server.popen.wait(20) == 0
    assert "complete unrolls were not accepted, and are lost: " + why in server.output


@pytest.mark.long
def test_a_drain_ends_at_its_deadline_and_at_a_second_signal(run: Run) -> None:
    server = run.start_server(drain_s=0.2)
    run.publish()
    until_serving(run.address)
    actor = run.start_actor("SINGLE")
    begin_to_block(run)
    server.popen.terminate()
    assert_lost(server, "it took too long (server.drain_s)")

    patient = run.start_server(drain_s=60)
    until_serving(run.address)
    begin_to_block(run)
    patient.popen.terminate()
    until(lambda: not status(run)["ready"], what="a drain")
    patient.popen.terminate()
    assert patient.popen.wait(20) == 128 + signal.SIGTERM
    assert not Path(run.address.removeprefix("ipc://")).exists()
    assert actor.end() == 0
