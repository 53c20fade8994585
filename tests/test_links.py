"""Links that are slow, lose packets, or break and heal: between actors, server and learner."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.far_run import FarRun
from tests.support.hosts import Host, hosts
from tests.support.machines import (
    ACTOR,
    LEARNER,
    LEARNER_ELSEWHERE,
    SERVER,
    Machines,
    figures,
    learner_elsewhere,
    workplace_with_keys,
)
from tests.support.processes import until
from tests.support.scripted_environment import read_journals

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FAR_ACTOR = ("--environments", "64", "--set", "actor.pipeline=4")  # docs/machines.md


class Link(NamedTuple):
    """A link, and how it is bad.

    Attributes:
      delay_s: each way.
      loss: part of all packets.
      down_s: how long it breaks now and then; 0 for one that does not.
      up_s: for how long it holds in between.
    """

    delay_s: float = 0.0
    loss: float = 0.0
    down_s: float = 0.0
    up_s: float = 3.0


SLOW, LOSSY, BREAKING = Link(delay_s=0.02), Link(loss=0.01), Link(delay_s=0.005, down_s=2.0)
BAD = Link(0.02, 0.01, 2.0, 8.0)
ALL = pytest.mark.parametrize("link", [SLOW, LOSSY, BREAKING], ids=["20 ms each way", "1 % loss", "partitions"])


@contextmanager
def linked(host: Host, link: Link) -> Iterator[list[float]]:
    """The host behind such a link, and a list of its breaks so far."""
    breaks: list[float] = []
    ended = threading.Event()

    def disturb() -> None:
        while link.down_s and not ended.wait(link.up_s):
            host.unplug()
            breaks.append(link.down_s)
            ended.wait(link.down_s)
            host.plug_in()

    thread = threading.Thread(target=disturb)
    with host.far(link.delay_s, link.loss) as counts:
        thread.start()
        try:
            yield breaks
        finally:
            ended.set()
            thread.join(30)
    print(f"{link}: {len(breaks)} breaks, {counts}")
    assert counts["carried"] > 100
    assert not link.loss or counts["lost"] > 0


@pytest.fixture(scope="module")
def network() -> Iterator[list[Host]]:
    with hosts(3) as network:
        yield network


@pytest.fixture
def machines(network: list[Host]) -> Iterator[Machines]:
    with workplace_with_keys() as place, ExitStack() as stack:
        place.environment["CORRAL_RUN__TARGET_RETURN"] = "475"
        yield Machines(network, place, stack)


def assert_books_balance(machines: Machines, breaks: list[float]) -> None:
    """Each step that the server took in was accepted by the learner, which has ended, or is counted as lost."""
    server = until(lambda: (seen := figures(machines))["actors"] == 0 and seen, 60, "the actors' leaving")
    result = json.loads((machines.place.run_folder / "result.json").read_text())
    print(server, result)
    accepted = result["steps_accepted"][server["identity"]]
    known, underway = server["steps_accepted"], server["steps_underway"]
    assert server["env_steps"] == known + server["steps_dropped"] + underway
    assert known <= accepted <= known + underway  # the word of the last may not have come
    # No break was longer than a lease: lost are the open unrolls of actors that left, and nothing else.
    assert server["steps_dropped"] <= 64 * 16


@ALL
def test_cartpole_is_solved_by_actors_over(machines: Machines, link: Link) -> None:
    with linked(machines.b, link) as breaks:
        server = machines.start(machines.a, SERVER)
        actor = machines.start(machines.b, ACTOR, *FAR_ACTOR)
        learner = machines.start(machines.a, LEARNER)
        assert learner.popen.wait(500) == 0, learner.output
        assert bool(breaks) == bool(link.down_s)
    assert actor.end() == 0
    assert "joining again" not in actor.output
    assert_books_balance(machines, breaks)
    assert server.end() == 0


def test_cartpole_is_solved_by_a_learner_over_a_bad_link(machines: Machines) -> None:
    learner_elsewhere(machines, machines.b)
    with linked(machines.b, BAD) as breaks:
        server = machines.start(machines.a, SERVER)
        actor = machines.start(machines.c, ACTOR, *FAR_ACTOR)
        learner = machines.start(machines.b, LEARNER_ELSEWHERE, "--set", "learner.queue_batches=4")
        assert learner.popen.wait(500) == 0, learner.output
    assert actor.end() == 0
    assert_books_balance(machines, breaks)
    assert server.end() == 0


@pytest.fixture
def run(network: list[Host], tmp_path: Path) -> Iterator[FarRun]:
    server, elsewhere, _ = network
    with ExitStack() as stack:
        yield FarRun(tmp_path, stack, server, elsewhere, server)


@ALL
def test_every_step_of_far_actors_counts_once(network: list[Host], run: FarRun, link: Link) -> None:
    with linked(network[1], link) as breaks:
        server = run.start_server()
        run.publish()
        run.until_serving()
        actors = [run.start_actor(mode) for mode in ("SINGLE", "NEXT_STEP")]
        until(lambda: len(run.witness.followed) == 16 or run.see(100), what="every environment")
        until(lambda: len(breaks) >= 3 or not link.down_s or run.see(100), what="some breaks")
        run.see(3_000)
        assert run.witness.steps == run.witness.steps_of_the_script()
        assert [actor.end() for actor in actors] == [0, 0]
    assert not any("joining again" in actor.output for actor in actors)
    assert server.end() == 0


def test_every_step_counts_once_with_a_learner_far_away(network: list[Host], tmp_path: Path) -> None:
    server, elsewhere, third = network
    with ExitStack() as stack, linked(elsewhere, BAD) as breaks:
        run = FarRun(tmp_path, stack, server, third, elsewhere)
        run.start_server()
        run.publish()
        run.until_serving()
        run.start_actor("SINGLE")
        until(lambda: len(breaks) >= 3 or run.see(100), what="some breaks")
        run.see(3_000)
        assert run.witness.steps == run.witness.steps_of_the_script()


def test_what_breaks_longer_than_a_lease_cost_is_counted(network: list[Host], run: FarRun, tmp_path: Path) -> None:
    server = run.start_server(lease_s=1)
    run.publish()
    run.until_serving()
    actor = run.start_actor("SINGLE")
    for _ in range(2):
        until(lambda: len(run.witness.followed) == 8 or run.see(100), what="every environment")
        run.see(500)
        network[1].unplug()
        try:
            until(lambda: run.figures().get("actors") == 0, what="the end of the leases")
            run.see_rest()
            run.witness.expect_reset()
        finally:
            network[1].plug_in()
        until(lambda: run.figures().get("actors") == 2, what="the actor's coming back")
    run.see(2_000)
    assert actor.end() == 0
    assert actor.output.count("joining again") == 4  # twice, two parts
    run.see_rest()
    seen = run.figures()
    assert run.witness.steps == run.source.steps_accepted == seen["steps_accepted"]
    assert seen["env_steps"] == seen["steps_accepted"] + seen["steps_dropped"]
    assert seen["steps_underway"] == 0
    assert seen["steps_dropped"] > 0
    # The environments' own count: one step of each may have been under way when its session ended.
    done = sum(steps for steps, _, _ in read_journals(tmp_path).values())
    assert 0 <= done - seen["env_steps"] <= 3 * 8
    assert server.end() == 0
