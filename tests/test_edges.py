"""Nobody, one, too many, too early, too late, and a clock that means nothing: nothing waits for ever at the edges.

Servers and actors run here with a wall clock that jumps by decades at every look (tests/support/jumping_clock.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from corral.protocol import (
    AddressError,
    ErrorCode,
    MessageType,
    Welcome,
    fetch_status,
    pack_control,
    pack_header,
)
from learner import UnrollSource, WeightPublisher
from tests.support.processes import Process, process, until
from tests.support.raw import RawPeer, body
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_environment import Witness

AGENT = ScriptedAgent()
SLOTS = 64
MOST = 16
"""Environments of the scripted server, in all and in one session."""


HANGING = """
[environment]
id = "tests.support.scripted_environment:HangingEnvironment"
kwargs = {{ after = 20 }}
[actor]
environments = 2
step_timeout_s = {timeout_s}
[server]
address = "{server}"
"""


class Edge:
    """Addresses in a folder of the test's own, and processes that may come in any order."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.server, self.unrolls, self.weights = (f"ipc://{folder}/{name}" for name in ("s", "u", "w"))
        self.folder = folder
        self._stack = stack
        self.witness = Witness()

    @cached_property
    def server_process(self) -> Process:
        """The server of all tests, which is started when it is first asked for."""
        return self._start("scripted_server", self.server, self.unrolls, self.weights)

    def start_actor(self, environments: int = 1) -> Process:
        return self._start("scripted_actor", self.server, "SINGLE", str(environments), "0.5")

    def start_hanging_actor(self, timeout_s: float) -> Process:
        """Two environments that hang in their 21st step."""
        file = self.folder / f"hanging-{timeout_s}.toml"
        file.write_text(HANGING.format(timeout_s=timeout_s, server=self.server))
        return self._stack.enter_context(process("-m", "corral.cli", "actor", str(file)))

    def _start(self, module: str, *arguments: str) -> Process:
        module = f"tests.support.{module}"
        return self._stack.enter_context(process("-m", "tests.support.jumping_clock", module, *arguments))

    def status(self) -> dict[str, Any]:
        return fetch_status(self.server, 0.5) or {}

    def publish(self, publisher: WeightPublisher) -> int:
        """The next version, taken up by the server; it stamps its own number."""
        version = publisher.publish(AGENT.weights(publisher.version + 1))
        until(lambda: self.acts() == (publisher.epoch, version), what="the flip")
        return version

    def acts(self) -> tuple[int, int]:
        figures = self.status()
        return figures.get("epoch", 0), figures.get("policy_version", 0)

    def see(self, source: UnrollSource, steps: int) -> None:
        """Let the witness check `steps` further transitions."""
        goal = self.witness.steps + steps
        while self.witness.steps < goal:
            unroll = source.next(1, timeout_s=30)
            assert unroll is not None, "no unrolls any more"
            self.witness.see(unroll)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with ExitStack() as stack:
        edge = Edge(tmp_path_factory.mktemp("edge"), stack)
        yield edge
        assert edge.server_process.end() == 0
        assert not [path for path in edge.folder.iterdir() if path.is_socket()]


def test_nobody_waits_for_ever_whoever_is_there(edge: Edge) -> None:
    # An actor alone, then a server without a learner, then a learner: the first to come is waited for by all.
    actor = edge.start_actor()
    assert edge.server_process.popen.poll() is None
    until(lambda: edge.status().get("errors", {}).get(ErrorCode.NOT_READY), what="an actor that asks")
    assert not edge.status()["ready"]
    assert not edge.status()["learner_found"]
    with UnrollSource(edge.unrolls, queue=8) as source, WeightPublisher(edge.weights) as publisher:
        edge.publish(publisher)
        edge.see(source, 100)
        assert edge.status()["environments"] == 1
        with pytest.raises(AddressError, match="in use"):
            WeightPublisher(edge.weights)  # a second learner finds the place taken

        # No actors: weights are taken up all the same.
        assert actor.end() == 0
        until(lambda: edge.status()["actors"] == 0, what="the goodbye")
        edge.publish(publisher)

        # More environments than slots: the last to come waits, and is served as soon as there is room.
        with RawPeer(edge.server) as crowd:
            tokens = []
            for nonce in range(1, SLOTS // MOST + 1):
                _, frames = crowd.ask(pack_control(MessageType.HELLO, nonce, 1, AGENT.hello(MOST)))
                tokens.append(body(Welcome, frames).session)
            assert edge.status()["environments"] == SLOTS
            late = edge.start_actor(4)
            until(lambda: edge.status()["errors"].get(ErrorCode.BUSY), what="an actor that is told to wait")
            crowd.send(pack_header(MessageType.BYE, tokens[0], 0))
            edge.see(source, 100)
            assert edge.status()["environments"] == SLOTS - MOST + 4
            for token in tokens[1:]:
                crowd.send(pack_header(MessageType.BYE, token, 0))
    # The learner has left, in order: the server knows, goes on, and waits for another one.
    until(lambda: not edge.status()["learner_found"], what="the goodbye")
    assert edge.status()["ready"]

    # The next learner's clock is decades behind; it is the later one nevertheless.
    held = edge.acts()
    with UnrollSource(edge.unrolls, queue=8) as source, WeightPublisher(edge.weights, epoch=5) as second:
        second.publish(AGENT.weights(1))
        until(lambda: edge.acts() == (held[0] + 1, 1), what="the later learner's weights")
        until(lambda: (unroll := source.next(1, 1)) and (unroll.version == 1).all(), what="unrolls of its policy")
    assert edge.status()["weights_refused"] == 0
    assert late.end() == 0


def test_an_environment_that_hangs_ends_its_actor_and_frees_its_slots(edge: Edge) -> None:
    assert edge.server_process.popen.poll() is None
    with UnrollSource(edge.unrolls, queue=64), WeightPublisher(edge.weights) as publisher:
        publisher.publish(AGENT.weights(1))
        hanging, patient = edge.start_hanging_actor(0.5), edge.start_hanging_actor(0)
        assert hanging.popen.wait(60) == 1
        assert "hangs in its environments" in hanging.output
        assert "in step" in hanging.output  # where
        # At once, and not when the lease ends, which takes ten seconds.
        until(lambda: edge.status()["environments"] == 2, 5, "the goodbye")

        # Without a limit it stays; a request to stop ends it all the same.
        until(lambda: edge.status()["env_steps"] >= 40, what="an environment that hangs")
        assert patient.popen.poll() is None
        assert patient.end() == 0
        until(lambda: edge.status()["environments"] == 0, 5, "the goodbye")
