from __future__ import annotations

import signal
from pathlib import Path

import pytest

from corral.cluster.papers import Addresses, Arrival, Luggage, Orders, Report
from corral.cluster.supervisor import KEYS, Supervisor, free_ports, needs, placed
from corral.launch.cast import Part, cast
from corral.launch.experiment import Experiment
from corral.launch.process import Process
from tests.cluster.experiments import experiment

PLACES: Addresses = {
    "server": ("tcp://10.0.0.1:1",),
    "learner": ("tcp://10.0.0.2:2", "tcp://10.0.0.2:3"),
}
ACTOR = Part("actor", 0, "actor-0")


class Scripted:
    """A directory whose orders the test gives."""

    def __init__(self) -> None:
        self.orders: Orders | None = Orders(0)
        self.reports: list[Report] = []
        self.kept: dict[str, bytes | None] = {}
        self.logged = b""
        self.arrival: Arrival | None = None

    def join(self, name: str, role: str, arrival: Arrival) -> Luggage:
        self.arrival = arrival
        return Luggage("run-1", experiment(), {"run.json": b"{}"}, {"actors/run.key_secret": b"k"}, {})

    def report(self, name: str, supervisor: str, report: Report) -> Orders | None:
        self.reports.append(report)
        return self.orders

    def log(self, name: str, supervisor: str, text: bytes) -> None:
        self.logged += text

    def keep(self, name: str, supervisor: str, role: str, path: str, content: bytes | None) -> None:
        self.kept[path] = content


class FakeProcess(Process):
    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name, log, grace_s=0.0)
        self.starts = 0
        self.code: int | None = None
        self.told: list[object] = []

    def start(self) -> None:
        self.starts += 1
        self.code = None

    def poll(self) -> int | None:
        return self.code

    @property
    def alive(self) -> bool:
        return self.starts > 0 and self.code is None

    @property
    def pid(self) -> int | None:
        return 100 + self.starts if self.starts else None

    def terminate(self) -> None:
        self.told.append("terminate")
        self.code = 0

    def signal(self, number: int) -> None:
        self.told.append(number)

    def tell(self, line: str) -> None:
        self.told.append(line)

    def kill(self) -> None:
        if self.alive:
            self.code = -9


class Stand:
    """A supervisor of `part` between a scripted directory and a process that is none."""

    def __init__(self, part: Part) -> None:
        self.directory = Scripted()
        self.supervisor = Supervisor(part, self.directory, "127.0.0.1", self._make)

    def _make(self, part: Part, folder: Path, grace_s: float) -> Process:
        self.folder = folder
        self.process = FakeProcess(part.name, folder / "logs" / f"{part.name}.log")
        return self.process

    def look(self, orders: Orders | None) -> bool:
        self.directory.orders = orders
        return self.supervisor.look()

    def experiment(self) -> Experiment:
        return Experiment.read(self.folder / "experiment.json")


@pytest.fixture
def actor() -> Stand:
    return Stand(ACTOR)


def test_nothing_starts_before_all_that_it_needs_has_a_place(actor: Stand) -> None:
    actor.look(Orders(1, addresses={"server": PLACES["server"]}))
    assert actor.process.starts == 0
    actor.look(Orders(1, addresses=PLACES))
    assert actor.process.starts == 1
    assert actor.experiment().server.address == "tcp://10.0.0.1:1"
    keys = Path(actor.experiment().security.keys)
    assert (keys / "actors" / "run.key_secret").read_bytes() == b"k"
    assert (keys / "actors" / "run.key_secret").stat().st_mode & 0o077 == 0
    actor.look(Orders(1, addresses=PLACES))
    assert actor.process.starts == 1
    assert actor.directory.reports[-1] == Report(1, None, 101)


def test_a_process_that_ended_is_started_again_when_told(actor: Stand) -> None:
    actor.look(Orders(1, addresses=PLACES))
    actor.process.code = 3
    actor.look(Orders(1, addresses=PLACES))
    assert actor.directory.reports[-1] == Report(1, 3, None)
    assert actor.process.starts == 1
    actor.look(Orders(2, addresses=PLACES))
    actor.look(Orders(2, addresses=PLACES))
    assert actor.process.starts == 2
    assert actor.directory.reports[-1] == Report(2, None, 102)


def test_an_actor_leaves_in_order_and_comes_back_where_its_server_is_now(actor: Stand) -> None:
    actor.look(Orders(1, addresses=PLACES))
    actor.look(Orders(1, addresses={**PLACES, "learner": ("tcp://10.0.0.9:2", "tcp://10.0.0.9:3")}))
    assert actor.process.starts == 1  # it has nothing to do with the learner
    actor.look(Orders(1, addresses={**PLACES, "server": ("tcp://10.0.0.9:1",)}))
    assert actor.process.told == ["terminate"]
    assert actor.process.starts == 2
    assert actor.experiment().server.address == "tcp://10.0.0.9:1"
    actor.look(Orders(1, addresses={**PLACES, "server": ("tcp://10.0.0.9:1",)}))
    assert actor.process.starts == 2


def test_what_a_process_wrote_is_handed_on_before_its_end_is_told() -> None:
    stand = Stand(Part("learner", 0, "learner"))
    addresses = stand.directory.arrival.addresses if stand.directory.arrival else ()
    assert len(set(addresses)) == 2
    stand.look(Orders(1, addresses=PLACES))
    stand.process.log.write_bytes(b"done\n")
    (stand.folder / "result.json").write_text("{}")
    stand.process.code = 0
    stand.look(Orders(1, addresses=PLACES))
    assert stand.directory.reports[-1] == Report(1, 0, None)
    assert stand.directory.logged == b"done\n"
    assert stand.directory.kept == {"result.json": b"{}"}


def test_signals_and_lines_reach_the_process(actor: Stand) -> None:
    actor.look(Orders(1, addresses=PLACES))
    actor.look(Orders(1, (signal.SIGTERM,), ("a line",), PLACES))
    assert actor.process.told == [signal.SIGTERM, "a line"]
    assert actor.process.starts == 1


def test_who_is_replaced_ends_its_process_and_leaves_nothing(actor: Stand) -> None:
    actor.look(Orders(1, addresses=PLACES))
    actor.directory.orders = None
    actor.supervisor.run()
    assert actor.process.code == -9
    assert not actor.folder.parent.exists()


def test_who_needs_whom() -> None:
    whole = {f"server-{number}": (f"tcp://10.0.0.1:{number + 1}",) for number in range(2)}
    whole["learner"] = PLACES["learner"]
    made = experiment(servers=2)
    parts = {part.name: part for part in cast(made)}
    assert needs(parts["actor-0"], made, {"server-0": whole["server-0"]}) is None
    assert set(needs(parts["actor-0"], made, whole) or ()) == {"server-0", "server-1"}
    assert set(needs(parts["server-1"], made, whole) or ()) == {"learner"}
    assert needs(parts["learner"], made, whole) == {}


def test_an_experiment_is_placed() -> None:
    whole = {f"server-{number}": (f"tcp://10.0.0.1:{number + 1}",) for number in range(2)}
    found = placed(experiment(servers=2), {**whole, "learner": PLACES["learner"]}, Path("/keys"))
    assert found.servers == ("tcp://10.0.0.1:1", "tcp://10.0.0.1:2")
    assert found.learner.unrolls_address == "tcp://10.0.0.2:2"
    assert found.learner.weights_address == "tcp://10.0.0.2:3"
    assert found.security.keys == f"/{KEYS}"
    assert placed(experiment(), PLACES, Path("/keys")).server.address == "tcp://10.0.0.1:1"


def test_free_ports_differ() -> None:
    assert len(set(free_ports("127.0.0.1", 5))) == 5
