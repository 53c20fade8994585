"""Server, learner and actors on separate machines, through the command line (docs/machines.md)."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hosts import Host, HostProcess, hosts
from tests.support.machines import (
    ACTOR,
    ACTOR_OF_TWO,
    BUNDLE,
    BUNDLE_ELSEWHERE,
    BUNDLE_SERVERS,
    ENVIRONMENTS,
    KEYS,
    LEARNER,
    LEARNER_ELSEWHERE,
    PAGE,
    SERVER,
    SERVERS,
    SET,
    STATUS,
    Machines,
    assert_trains,
    figures,
    learner_elsewhere,
    workplace_with_keys,
)
from tests.support.processes import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def network() -> Iterator[list[Host]]:
    with hosts(3) as network:
        yield network


@pytest.fixture
def machines(network: list[Host]) -> Iterator[Machines]:
    with workplace_with_keys() as place, ExitStack() as stack:
        yield Machines(network, place, stack)


@pytest.fixture(scope="module")
def herd(network: list[Host]) -> Iterator[Machines]:
    """Machines whose first one has a server with a short lease and a learner that trains without end."""
    with workplace_with_keys() as place, ExitStack() as stack:
        place.environment |= {"CORRAL_RUN__TARGET_RETURN": "1000", "CORRAL_RUN__MAX_ENV_STEPS": "1000000000"}
        herd = Machines(network, place, stack)
        herd.start(herd.a, SERVER, "--set", "server.lease_s=1")
        herd.start(herd.a, LEARNER)
        until(lambda: figures(herd)["ready"], what="a server with weights")
        yield herd


@pytest.fixture
def visit(herd: Machines) -> Iterator[Machines]:
    """The herd, without the actors that the test before had."""
    until(lambda: figures(herd)["actors"] == 0, what="the last actors' leaving")
    with ExitStack() as stack:
        yield Machines(herd.network, herd.place, stack)


def until_stepping(machines: Machines, actors: int) -> None:
    """Wait until so many actors are there, and some thousand steps more have been done."""
    until(lambda: figures(machines)["actors"] == actors, what=f"{actors} actors at the server")
    until_more_steps(machines)


def until_more_steps(machines: Machines, count: int = 2000) -> None:
    before = figures(machines)["env_steps"]
    until(lambda: figures(machines)["env_steps"] >= before + count, 10, f"{count} steps more")


def test_actors_on_other_machines(machines: Machines) -> None:
    server = machines.start(machines.a, SERVER)
    actors = [machines.start(host, ACTOR) for host in (machines.b, machines.c)]
    learner = machines.start(machines.a, LEARNER)
    assert_trains(learner, machines.place)
    # The server goes on with the weights that it has.
    seen = until(lambda: (now := figures(machines))["actors"] == 2 and now, what="two actors at the server")
    assert seen["environments"] == 2 * ENVIRONMENTS
    # Nobody has numbered them: the server has, and so they explore differently.
    joined = "".join(actor.output for actor in actors)
    assert sorted(re.findall(r"with environments (\d+ to \d+)", joined)) == ["0 to 11", "12 to 23"]
    assert [process.end() for process in (*actors, server)] == [0, 0, 0]


def test_server_and_learner_on_different_machines(machines: Machines) -> None:
    learner_elsewhere(machines, machines.b)
    server = machines.start(machines.a, SERVER)
    actor = machines.start(machines.c, ACTOR)
    learner = machines.start(machines.b, LEARNER_ELSEWHERE)
    assert_trains(learner, machines.place)
    assert [process.end() for process in (actor, server)] == [0, 0]


@pytest.mark.timeout(600)
def test_actors_share_two_servers_and_go_to_the_one_that_is_there(machines: Machines) -> None:
    machines.place.environment |= {"CORRAL_RUN__TARGET_RETURN": "1000", "CORRAL_RUN__MAX_ENV_STEPS": "1000000000"}
    learner_elsewhere(machines, machines.b)
    servers = [
        machines.start(host, command) for host, command in zip((machines.a, machines.c), SERVERS, strict=True)
    ]
    machines.start(machines.b, LEARNER_ELSEWHERE)
    for host in (machines.a, machines.c):
        until(lambda host=host: figures(machines, host)["ready"], 300, "two servers with weights")
    actors = [machines.start(machines.b, ACTOR_OF_TWO) for _ in range(2)]

    def actors_at(host: Host) -> int | None:
        return figures(machines, host)["actors"]

    until(lambda: actors_at(machines.a) == actors_at(machines.c) == 1, what="an actor at each server")
    machines.c.unplug()
    try:
        until(lambda: actors_at(machines.a) == 2, 30, "both at the one that is there")
    finally:
        machines.c.plug_in()
    until(lambda: actors_at(machines.a) == actors_at(machines.c) == 1, what="an actor at each server again")
    numbers = re.findall(r"with environments (\d+) to", "".join(actor.output for actor in actors))
    assert {int(first) // 1024 for first in numbers} == {0, 1}  # each server numbers from a place of its own
    assert [process.end() for process in (*actors, *servers)] == [0, 0, 0, 0]


def test_a_cable_is_pulled_and_put_back(visit: Machines) -> None:
    pulled, other = (visit.start(host, ACTOR) for host in (visit.c, visit.b))
    until_stepping(visit, actors=2)
    visit.c.unplug()
    try:
        until(lambda: figures(visit)["actors"] == 1, 10, "the end of the lease")
        assert figures(visit)["environments"] == ENVIRONMENTS
        until_more_steps(visit)
    finally:
        visit.c.plug_in()
    until(lambda: figures(visit)["environments"] == 2 * ENVIRONMENTS, 30, "the actor's coming back")
    until_more_steps(visit)
    assert "again" in pulled.output
    assert "again" not in other.output
    assert [pulled.end(), other.end()] == [0, 0]


def error_of(output: str) -> str:
    """The one line that a person is told."""
    assert "Traceback" not in output
    (line,) = (line for line in output.splitlines() if line.startswith("error: "))
    return line


def test_an_actor_with_another_environment_is_refused(visit: Machines) -> None:
    code, output = visit.told(visit.b, ACTOR, "--set", "environment.id=Acrobot-v1")
    assert code == 2, output
    error = error_of(output)
    for environment, observation in (("CartPole-v1", "float32[4]"), ("Acrobot-v1", "float32[6]")):
        assert environment in error
        assert observation in error


def test_an_actor_without_a_server_gives_up(machines: Machines) -> None:
    nobody = machines.a.address.rpartition(".")[0] + ".99"
    for host in (machines.c.address, nobody):  # one refuses the connection, the other one is not there
        command = ACTOR.replace("SERVER", host)
        code, output = machines.told(machines.b, command, "--set", "actor.give_up_after_s=0.5")
        assert code == 1, output
        assert error_of(output).startswith(f"error: no answer from tcp://{host}:5555 for ")


def test_the_batch_timeout_is_set_from_another_machine(visit: Machines) -> None:
    actor = visit.start(visit.b, ACTOR)
    until_stepping(visit, actors=1)
    for where, timeout_us in (("tcp://SERVER:5555", 500), ("SERVER:5555", 700), ("SERVER", 900)):
        command = SET.replace("tcp://SERVER:5555", where).replace("500", str(timeout_us))
        code, output = visit.told(visit.c, command)
        assert code == 0, output
        code, output = visit.told(visit.c, STATUS, "--json")
        assert code == 0, output
        assert json.loads(output)["timeout_us"] == timeout_us
    until_more_steps(visit)
    assert actor.end() == 0


def test_no_command_of_the_page_is_left_out() -> None:
    commands = re.findall(r"^corral .*", "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)), re.MULTILINE)
    here = {KEYS, BUNDLE, SERVER, LEARNER, LEARNER_ELSEWHERE, ACTOR, STATUS, SET, *SERVERS, ACTOR_OF_TWO}
    assert set(commands) == here
    assert all(f"`{command}`" in PAGE for command in (BUNDLE_ELSEWHERE, BUNDLE_SERVERS))


def test_hosts_are_gone_after_a_failure(network: list[Host], machines: Machines) -> None:
    def fail() -> None:
        with hosts(1) as (host,):
            gone.append(host)
            # Nobody ends this one: its host does.
            start = host.process("sleep", "600", folder=machines.place.folder, environment=os.environ)
            left.append(machines.stack.enter_context(start))
            command = Path(f"/proc/{left[0].popen.pid}/cmdline")
            until(lambda: command.read_bytes().startswith(b"sleep"), 20, "its being there")
            raise ZeroDivisionError

    gone: list[Host] = []
    left: list[HostProcess] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert left[0].popen.wait(10) == -signal.SIGKILL
    with pytest.raises(FileNotFoundError):
        gone[0].call(os.getpid)
    assert network[0].call(os.getpid) == os.getpid()


def test_hosts_lead_nowhere_else(network: list[Host]) -> None:
    for host in network:
        routes = host.call(lambda: Path("/proc/thread-self/net/route").read_text()).splitlines()[1:]
        assert [route.split()[:2] for route in routes] == [["eth0", "000012C6"]]  # 198.18.0.0, read backwards


def test_hosts_that_cannot_be_are_skipped_unless_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("REQUIRE_HOSTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="only root"), hosts(1):
        pass
    monkeypatch.setenv("REQUIRE_HOSTS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"REQUIRE_HOSTS=1.*only root"), hosts(1):
        pass
