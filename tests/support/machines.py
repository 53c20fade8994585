"""Server, learner and actors on machines of their own, by the commands of docs/machines.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from corral.protocol.keys import Role, caller
from learner.checkpoints import load_newest
from tests.support.command import ROOT, Workplace, workplace
from tests.support.hosts import Host, HostProcess

PAGE = (ROOT / "docs/machines.md").read_text()
# As they stand on the page, where each machine has the name of what runs there.
KEYS = "corral keys new keys"
BUNDLE = "corral keys bundle keys actor actor for-actors"
BUNDLE_ELSEWHERE = "corral keys bundle keys learner learner for-learner"  # in a sentence
SERVER = "corral server examples/cartpole.toml --address tcp://0.0.0.0:5555 --keys keys"
LEARNER = "corral learner examples/cartpole.toml --keys keys"
LEARNER_ELSEWHERE = "corral learner examples/cartpole.toml --keys for-learner"
SERVERS = tuple(
    f"corral server examples/cartpole.toml --set servers=2 --number {number} --address tcp://0.0.0.0:5555 "
    "--keys for-server"
    for number in range(2)
)
ACTOR_OF_TWO = (
    "corral actor examples/cartpole.toml --server tcp://ONE:5555 --server tcp://TWO:5555 --keys for-actors"
)
BUNDLE_SERVERS = "corral keys bundle keys server server for-server"
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
        for name, there in (("SERVER", self.a), ("ONE", self.a), ("TWO", self.c)):
            command = re.sub(rf"\b{name}\b", there.address, command)
        words = [*command.split(), *options]
        process = host.process(*words, folder=self.place.folder, environment=self.place.environment)
        return self.stack.enter_context(process)

    def told(self, host: Host, command: str, *options: str) -> tuple[int, str]:
        """Exit code and output of a command that ends by itself."""
        process = self.start(host, command, *options)
        return process.popen.wait(30), process.output


@contextmanager
def workplace_with_keys() -> Iterator[Workplace]:
    with workplace() as place:
        for command in (KEYS, BUNDLE, BUNDLE_ELSEWHERE, BUNDLE_SERVERS):
            assert place.corral(*command.split()[1:]).returncode == 0
        yield place


def learner_elsewhere(machines: Machines, host: Host) -> None:
    """Tell every command started from now on that the learner is on another host than the server."""
    for line in re.findall(r"export (.*)", PAGE):
        name, address = line.replace("LEARNER:", f"{host.address}:").split("=")
        machines.place.environment[name] = address


def figures(machines: Machines, host: Host | None = None) -> dict[str, Any]:
    """What the server on a machine, or the first one, tells the second one; `ready` and `actors` at least."""
    keys = caller(machines.place.folder / "keys", Role.OPERATOR, towards=Role.SERVER)
    address = f"tcp://{(host or machines.a).address}:5555"
    return machines.b.status(address, 5, keys) or {"ready": False, "actors": None}


def assert_trains(learner: HostProcess, place: Workplace) -> None:
    """The learner reaches its target, and leaves what it should in the folder of the only run."""
    assert learner.popen.wait(60) == 0, learner.output
    folder = place.run_folder
    assert (folder / "policy.keras").exists()
    newest = load_newest(folder / "checkpoints")
    assert newest is not None
    assert newest[1].progress["env_steps"] > 1000
