"""Every step of every environment reaches the learner once, in order and whole: through real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from learner import UnrollSource, WeightPublisher
from tests.support.bad_network import BadNetwork
from tests.support.processes import Process, process, until, until_serving
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_environment import Witness


class Run:
    """A scripted server, actors as the test starts them, and the test itself as the learner."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address, self._unrolls, self._weights = (
            f"ipc://{folder}/{name}" for name in ("server", "unrolls", "weights")
        )
        self._stack = stack
        self._agent = ScriptedAgent()
        self.intake = self._unrolls
        self.source = stack.enter_context(UnrollSource(self._unrolls, queue=64))
        self.publisher = stack.enter_context(WeightPublisher(self._weights))
        self.witness = Witness()

    def start_server(self, lease_s: float = 10, drain_s: float = 5) -> Process:
        module = "tests.support.scripted_server"
        arguments = (self.address, self.intake, self._weights, str(lease_s), str(drain_s))
        return self._stack.enter_context(process("-m", module, *arguments))

    def start_actor(
        self, mode: str, environments: int = 4, address: str = "", resend_after_s: float = 0.5
    ) -> Process:
        module = "tests.support.scripted_actor"
        arguments = (address or self.address, mode, str(environments), str(resend_after_s))
        return self._stack.enter_context(process("-m", module, *arguments))

    def bad_network(self, back: str, **faults: float) -> BadNetwork:
        """A bad network in front of `back`."""
        network = BadNetwork(f"{back}-bad", back, **faults)  # type: ignore[arg-type]
        return self._stack.enter_context(network)

    def publish(self) -> None:
        """The next version, which stamps its own number."""
        self.publisher.publish(self._agent.weights(self.publisher.version + 1))

    def see(self, steps: int) -> None:
        """Let the witness check `steps` further transitions, while versions go on changing."""
        goal = self.witness.steps + steps
        while self.witness.steps < goal:
            unroll = self.source.next(8, timeout_s=30)
            assert unroll is not None, "no unrolls any more"
            self.witness.see(unroll)
            self.publish()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        yield Run(tmp_path, stack)


def test_every_step_is_stored_once_and_aligned(run: Run) -> None:
    server = run.start_server()
    run.publish()
    until_serving(run.address)
    for mode in ("SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED"):
        run.start_actor(mode, environments=5)

    run.see(5_000)
    until(lambda: len(run.witness.followed) == 20 or run.see(500), what="every environment")
    assert sorted(run.witness.numbers.values()) == list(range(20))
    assert run.publisher.version > 50
    assert server.end() == 0


def test_an_actor_that_dies_takes_its_open_steps_along_and_nothing_else(run: Run) -> None:
    run.start_server(lease_s=1)
    run.publish()
    until_serving(run.address)
    survivor = run.start_actor("NEXT_STEP")
    victim = run.start_actor("SINGLE")
    until(lambda: len(run.witness.followed) == 8 or run.see(200), what="both actors")

    victim.kill()
    run.see(2_000)
    newcomer = run.start_actor("SAME_STEP")
    until(lambda: len(run.witness.followed) == 12 or run.see(200), what="the newcomer")
    assert survivor.end() == 0
    assert newcomer.end() == 0


def test_actors_rejoin_a_server_that_was_killed(run: Run) -> None:
    server = run.start_server()
    run.publish()
    actor = run.start_actor("SINGLE")
    run.see(500)

    server.kill()
    run.witness.expect_reset()
    run.start_server()
    run.see(2_000)
    assert actor.end() == 0


def test_every_step_counts_once_between_actors_and_server_on_a_bad_network(run: Run) -> None:
    run.start_server()
    run.publish()
    until_serving(run.address)
    network = run.bad_network(run.address, drop=0.03, double=0.1, hold=0.05, seed=1)
    for mode in ("SINGLE", "NEXT_STEP"):
        run.start_actor(mode, address=f"{run.address}-bad", resend_after_s=0.05)
    run.see(5_000)
    assert min(network.dropped, network.doubled, network.reordered) > 20


def test_every_step_counts_once_between_server_and_learner_on_a_bad_network(run: Run) -> None:
    network = run.bad_network(run.intake, drop=0.05, double=0.2, hold=0.05, seed=2, drops=4)
    run.intake = f"{run.intake}-bad"
    run.start_server()
    run.publish()
    until_serving(run.address)
    run.start_actor("SINGLE", environments=8)
    run.see(5_000)
    assert network.dropped == 4
    assert min(network.doubled, network.reordered) > 2
