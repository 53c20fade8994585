"""Server, learner and actors on separate machines, through the command line (docs/machines.md)."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corral.protocol.keys import Role, caller
from learner.checkpoints import load_newest
from tests.support.command import ROOT, Workplace, workplace
from tests.support.hosts import Host, HostProcess, hosts
from tests.support.processes import until

pytestmark = pytest.mark.long

PAGE = (ROOT / "docs/machines.md").read_text()
# As they stand on the page, where each machine has the name of what runs there.
KEYS = "corral keys new keys"
BUNDLE = "corral keys bundle keys actor actor for-actors"
BUNDLE_ELSEWHERE = "corral keys bundle keys learner learner for-learner"  # in a sentence
SERVER = "corral server examples/cartpole.toml --address tcp://0.0.0.0:5555 --keys keys"
LEARNER = "corral learner examples/cartpole.toml --keys keys"
LEARNER_ELSEWHERE = "corral learner examples/cartpole.toml --keys for-learner"
ACTOR = "corral actor examples/cartpole.toml --server tcp://SERVER:5555 --keys for-actors"
STATUS = "corral status tcp://SERVER:5555 --keys keys"
SET = "corral set tcp://SERVER:5555 server.batching.timeout_us=500 --keys keys"
ENVIRONMENTS = 12  # of one actor, as the experiment has it


@dataclass
class Machines:
    """Three machines, the first one the server's, and processes on them that are gone when the block ends."""

    network: list[Host]
    place: Workplace
    stack: ExitStack

    def __post_init__(self) -> None:
        self.a, self.b, self.c = self.network

    def start(self, host: Host, command: str, *options: str) -> HostProcess:
        """Start a command of the page on a host."""
        words = [*command.replace("SERVER", self.a.address).split(), *options]
        process = host.process(*words, folder=self.place.folder, environment=self.place.environment)
        return self.stack.enter_context(process)

    def told(self, host: Host, command: str, *options: str) -> tuple[int, str]:
        """Exit code and output of a command that ends by itself."""
        process = self.start(host, command, *options)
        return process.popen.wait(30), process.output


@pytest.fixture(scope="module")
def network() -> Iterator[list[Host]]:
    with hosts(3) as network:
        yield network


@contextmanager
def workplace_with_keys() -> Iterator[Workplace]:
    with workplace() as place:
        for command in (KEYS, BUNDLE, BUNDLE_ELSEWHERE):
            assert place.corral(*command.split()[1:]).returncode == 0
        yield place


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


def figures(machines: Machines) -> dict[str, Any]:
    """What the server on the first machine tells the second one; `ready` and `actors` at least."""
    keys = caller(machines.place.folder / "keys", Role.OPERATOR, towards=Role.SERVER)
    return machines.b.status(f"tcp://{machines.a.address}:5555", 5, keys) or {"ready": False, "actors": None}


def until_stepping(machines: Machines, actors: int) -> None:
    """Wait until so many actors are there, and some thousand steps more have been done."""
    until(lambda: figures(machines)["actors"] == actors, what=f"{actors} actors at the server")
    until_more_steps(machines)


def until_more_steps(machines: Machines, count: int = 2000) -> None:
    before = figures(machines)["env_steps"]
    until(lambda: figures(machines)["env_steps"] >= before + count, 10, f"{count} steps more")


def assert_trains(learner: HostProcess, place: Workplace) -> None:
    """The learner reaches its target, and leaves what it should in the folder of the only run."""
    assert learner.popen.wait(60) == 0, learner.output
    folder = place.run_folder
    assert (folder / "policy.keras").exists()
    newest = load_newest(folder / "checkpoints")
    assert newest is not None
    assert newest[1].progress["env_steps"] > 1000


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
    for line in re.findall(r"export (.*)", PAGE):
        name, address = line.replace("LEARNER:", f"{machines.b.address}:").split("=")
        machines.place.environment[name] = address
    server = machines.start(machines.a, SERVER)
    actor = machines.start(machines.c, ACTOR)
    learner = machines.start(machines.b, LEARNER_ELSEWHERE)
    assert_trains(learner, machines.place)
    assert [process.end() for process in (actor, server)] == [0, 0]


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
    assert set(commands) == {KEYS, BUNDLE, SERVER, LEARNER, LEARNER_ELSEWHERE, ACTOR, STATUS, SET}
    assert f"`{BUNDLE_ELSEWHERE}`" in PAGE


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
