"""Several servers in one run: actors go from one to another, and every step is accepted once or counted as lost."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from corral.launch.books import read_books, total
from corral.launch.cast import following
from corral.protocol import fetch_status
from tests.support.command import Workplace, workplace
from tests.support.processes import Process, until, until_serving
from tests.support.roving_witness import RovingWitness
from tests.support.scripted_run import ScriptedRun

ENVIRONMENTS = 4
MODES = ("SINGLE", "NEXT_STEP", "SAME_STEP", "SINGLE", "NEXT_STEP", "SAME_STEP")
EVERYBODY = len(MODES) * ENVIRONMENTS
QUEUE = 64
"""Unrolls that wait at the learner for the witness at most."""


class Fleet:
    """Three scripted servers, actors that may use any of them, and a witness of all steps."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.witness = RovingWitness()
        self.run = ScriptedRun(folder, stack, queue=QUEUE, witness=self.witness)
        self._folder = folder
        self.servers = [self.run.start_server(lease_s=2, number=number) for number in range(3)]
        self.addresses = [following(self.run.address, number) for number in range(3)]
        self.run.publish()
        for address in self.addresses:
            until_serving(address, timeout_s=150)
        self.actors = [
            self.run.start_actor(mode, ENVIRONMENTS, ",".join(self.addresses), leave_after_s=1.0) for mode in MODES
        ]

    def seated(self, *numbers: int) -> int:
        """Environments that these servers have now."""
        answers = [fetch_status(self.addresses[number], 2.0) for number in numbers]
        return sum(int(status["environments"]) for status in answers if status is not None)

    def goes_on_until(self, condition: Callable[[], object], what: str, timeout_s: float = 60) -> float:
        """Let the witness see what comes until `condition`; the seconds that it took."""
        began = time.monotonic()

        def look() -> bool:
            self._see()
            return bool(condition())

        until(look, timeout_s, what)
        return time.monotonic() - began

    def everybody_acts_at(self, *numbers: int) -> float:
        """Wait until every environment has its seat at one of these servers and acts; the seconds to its seat."""
        seconds = self.goes_on_until(lambda: self.seated(*numbers) == EVERYBODY, "everybody has a server")
        for _ in range(QUEUE):
            self._see()  # what is from before
        before = dict(self.witness.followed)
        assert len(before) == EVERYBODY
        self.goes_on_until(
            lambda: all(self.witness.followed[who] != at for who, at in before.items()), "everybody acts"
        )
        return seconds

    def end(self, processes: list[Process]) -> list[int]:
        """Ask them to stop, and let the witness see what still comes; their exit codes."""
        for each in processes:
            each.popen.terminate()
        self.goes_on_until(lambda: all(each.popen.poll() is not None for each in processes), "they end")
        return [each.popen.returncode for each in processes]

    def check_books(self, servers: int) -> None:
        """All that servers took in was accepted and seen, or is counted as lost."""
        while self._see():
            pass
        position = self.run.source.position()
        accepted = {f"{identity:016x}": account.accepted for identity, account in position.accounts.items()}
        books = read_books(self._folder, {"steps_accepted": accepted})
        assert len(books) == servers
        for each in books.values():
            assert min(each.lost_with_server, each.lost_with_learner, each.unfinished) == 0 <= each.dropped
            assert each.lost_with_server >= 0
        whole = total(books.values())
        assert whole.accepted == self.witness.steps == position.steps_accepted
        assert whole.completed == whole.accepted + whole.lost

    def _see(self) -> bool:
        unroll = self.run.source.next(1, timeout_s=0.2)
        if unroll is not None:
            self.witness.see(unroll)
            if self.witness.unrolls % 8 == 0:
                self.run.publish()
        return unroll is not None


def status_of(place: Workplace) -> dict[str, Any]:
    """The figures of the run in `place`; nothing where nobody answers yet."""
    answer = place.corral("status", str(place.run_folder), "--json")
    return json.loads(answer.stdout) if answer.stdout.startswith("{") else {}


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_run_with_two_servers_is_asked_set_and_healed_as_one() -> None:
    options = ("--set", "servers=2", "--set", "run.target_return=1000", "--set", "learner.checkpoint_every_s=1")
    with workplace() as place:
        run = subprocess.Popen(
            ["corral", "run", "examples/cartpole.toml", *options],
            cwd=place.folder,
            env=place.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            until(lambda: len(list(place.folder.glob("runs/*/run.json"))) == 1, 120, "a run")

            def all_act() -> bool:
                status = status_of(place)
                servers = status.get("servers", {}).values()
                return status.get("environments") == 48 and all(each["env_steps"] > 0 for each in servers)

            until(all_act, 240, "both servers act")
            answer = place.corral("set", str(place.run_folder), "server.batching.timeout_us=700")
            assert answer.stdout.count("timeout_us = 700") == 2
            servers = status_of(place)["servers"].values()
            assert [each["timeout_us"] for each in servers] == [700, 700]
            assert "ready" in place.corral("top", str(place.run_folder), "--json", "-n", "2").stdout

            identities = {each["identity"] for each in servers}
            for child in psutil.Process(run.pid).children():
                if child.cmdline()[3:4] == ["server"] and child.cmdline()[-1] == "1":
                    child.kill()

            def healed() -> bool:
                status = status_of(place)
                new = {each["identity"] for each in status.get("servers", {}).values()} - identities
                return bool(new) and bool(status["ready"]) and status["environments"] == 48

            until(healed, 240, "a new server, and a seat for everybody")
            run.send_signal(signal.SIGINT)
            output, _ = run.communicate(timeout=120)
        finally:
            run.kill()
            run.wait()
        assert run.returncode == 130
        assert "server-1 ended (killed by SIGKILL) and was started again" in output
        summary = json.loads((place.run_folder / "summary.json").read_text())
        assert summary["restarts"] == 1
        assert summary["steps_lost"] >= 0
        assert len(list((place.run_folder / "ledgers").iterdir())) == 3
        assert not place.leftovers()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


@pytest.mark.long
@pytest.mark.timeout(500)
def test_one_server_dies_for_good_and_one_comes_back(fleet: Fleet) -> None:
    fleet.goes_on_until(lambda: len(fleet.witness.followed) == EVERYBODY, "everybody acts")
    fleet.goes_on_until(lambda: all(fleet.seated(number) for number in range(3)), "all three are used")

    fleet.servers[0].kill()
    assert fleet.everybody_acts_at(1, 2) < 30
    fleet.servers[1].kill()
    assert fleet.everybody_acts_at(2) < 30

    fleet.servers[1] = fleet.run.start_server(lease_s=2, number=1)
    fleet.goes_on_until(lambda: fleet.seated(1), "the one that came back is used")
    assert fleet.end(fleet.actors) == [0] * len(MODES)
    assert fleet.end(fleet.servers[1:]) == [0, 0]
    fleet.check_books(servers=4)


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_server_that_drains_sends_its_actors_to_the_others(fleet: Fleet) -> None:
    fleet.goes_on_until(lambda: len(fleet.witness.followed) == EVERYBODY, "everybody acts")
    assert fleet.end([fleet.servers[0]]) == [0]
    assert fleet.everybody_acts_at(1, 2) < 30
    assert fleet.end(fleet.actors) == [0] * len(MODES)
    assert fleet.end(fleet.servers[1:]) == [0, 0]
    fleet.check_books(servers=3)
