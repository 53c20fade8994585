"""Runs on a real Ray cluster of three nodes, by the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Workplace, workplace
from tests.support.processes import until
from tests.support.ray_cluster import WORKERS, RayCluster, environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_LEFT = """
import json, logging, sys
import ray
ray.init(sys.argv[1], namespace="corral", log_to_driver=False, logging_level=logging.ERROR)
table = ray.util.placement_group_table()
print(json.dumps({
    "actors": [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)],
    "groups": [group["state"] for group in table.values() if group["state"] != "REMOVED"],
    "taken": {k: v - ray.available_resources().get(k, 0) for k, v in ray.cluster_resources().items() if k == "CPU"},
}))
"""


@pytest.fixture
def cluster() -> Iterator[RayCluster]:
    made = RayCluster()
    yield made
    made.close()


class Launched:
    """`corral run --on ray` in a workplace, and what it has said."""

    def __init__(self, place: Workplace, cluster: RayCluster, *options: str) -> None:
        self.place = place
        self.cluster = cluster
        self._out = place.folder / "out.txt"
        command = ["corral", "run", "examples/cartpole.toml", "--on", "ray", "--ray-address", cluster.address]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--plain", "--set", "actor.processes=3", *options],
                cwd=place.folder,
                env=place.environment | environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = 240) -> Any:
        """The first true value of `condition`, unless the run ends before."""

        def look() -> Any:
            assert self.process.poll() is None, self.said
            return condition()

        return until(look, timeout_s, what)

    def node_of(self, name: str) -> str:
        """Where a process was placed last."""
        return re.findall(rf"^{name} is placed on ([\d.]+)", self.said, re.MULTILINE)[-1]

    def places(self, name: str) -> int:
        """How often a process was placed."""
        return len(re.findall(rf"^{name} is placed on", self.said, re.MULTILINE))

    def trains(self, *servers: str) -> None:
        """Wait until it trains, with every process at its place."""
        names = (*(servers or ("server",)), "learner", "actor-0", "actor-1", "actor-2")
        self.until(lambda: all(self.places(name) for name in names), "every place")
        self.until(lambda: self.steps() > 0, "training")

    def steps(self) -> int:
        """Environment steps so far."""
        return int(self.figure("env_steps"))

    def figure(self, name: str) -> float:
        """The newest of the run's figures of that name."""
        metrics = self.place.run_folder / "metrics.jsonl"
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        return float(json.loads(lines[-1]).get(name) or 0) if lines else 0.0

    def learns(self) -> None:
        """Wait until the policy balances the pole as long as CartPole-v0 asked for, then end the run."""
        self.until(lambda: self.figure("mean_return") >= 195, "a mean return of 195", 400)
        self.process.send_signal(signal.SIGINT)
        self.end(130)

    def end(self, code: int, timeout_s: float = 400) -> dict[str, Any]:
        """Wait for its end, look that it left nothing behind, and return its summary."""
        assert self.process.wait(timeout_s) == code, self.said
        for node in (node for node in WORKERS if self.cluster.runs(node)):
            assert not [words for words in self.cluster.commands(node) if "corral.launch.child" in words]
        answer = subprocess.run(
            [sys.executable, "-c", _LEFT, self.cluster.address],
            env=os.environ | environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        left = json.loads(answer.stdout.splitlines()[-1])
        assert left == {"actors": [], "groups": [], "taken": {"CPU": 0.0}}
        assert not (self.place.run_folder / "keys").exists()
        summary: dict[str, Any] = json.loads((self.place.run_folder / "summary.json").read_text())
        return summary


@contextmanager
def launched(cluster: RayCluster, *options: str, target: str = "30") -> Iterator[Launched]:
    with workplace() as place:
        place.environment["CORRAL_RUN__TARGET_RETURN"] = target
        run = Launched(place, cluster, *options)
        try:
            yield run
        finally:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()
            print(run.said)


def test_cartpole_solves_on_three_nodes(cluster: RayCluster) -> None:
    with launched(cluster, "--set", "servers=2", "--set", "evaluation.episodes=4", target="475") as run:
        run.trains("server-0", "server-1")
        assert {run.node_of(f"actor-{number}") for number in range(3)} == set(WORKERS)
        folder = run.place.run_folder
        status = run.place.corral(
            "status", str(folder), "--keys", str(folder / "keys"), "--json", **environment(), timeout_s=60
        )
        assert json.loads(status.stdout)["ready"], status.stderr
        summary = run.end(0)
        assert summary["solved"]
        logs = {path.name for path in (folder / "logs").iterdir()}
        wanted = {"learner", "server-0", "server-1", *(f"actor-{number}" for number in range(3))}
        assert logs >= {f"{name}.log" for name in wanted}
        assert (folder / "policy.keras").exists()
        assert "evaluation of policy" in run.said
        assert summary["restarts"] == 0


def test_actors_come_and_go_and_their_node_may_be_lost(cluster: RayCluster) -> None:
    with launched(cluster, target="1000") as run:
        run.trains()
        folder = str(run.place.run_folder)
        scaled = run.place.corral(
            "scale", folder, "--actors", "4", "--ray-address", cluster.address, **environment()
        )
        assert scaled.returncode == 0, scaled.stderr
        assert "4 actor processes wanted, 3 before" in scaled.stdout
        run.until(lambda: run.places("actor-3"), "a fourth actor")
        name = run.place.run_folder.name
        run.place.corral("scale", name, "--actors", "2", "--ray-address", cluster.address, **environment())
        run.until(lambda: "2 actors from now on, 4 before" in run.said, "two actors")
        other = next(node for node in WORKERS if node != run.node_of("server"))
        lost = [f"actor-{number}" for number in range(2) if run.node_of(f"actor-{number}") == other]
        cluster.kill(other)
        for actor in lost:
            run.until(lambda actor=actor: run.places(actor) == 2, f"{actor} elsewhere")
            assert run.node_of(actor) == run.node_of("server")
        run.learns()


def test_the_node_of_server_and_learner_may_be_lost(cluster: RayCluster) -> None:
    with launched(cluster, "--set", "learner.checkpoint_every_s=1", target="1000") as run:
        run.trains()
        kept = run.place.run_folder / "checkpoints"
        run.until(lambda: len(list(kept.glob("*.npz"))) > 1, "a second checkpoint, on this machine")
        node = run.node_of("learner")
        cluster.kill(node)
        run.until(lambda: run.places("learner") == 2, "the learner elsewhere")
        if run.node_of("server") == node:
            run.until(lambda: run.places("server") == 2, "the server elsewhere")
        run.learns()
        learner = (run.place.run_folder / "logs" / "learner.log").read_text()
        going_on = re.search(r"going on from .*: ([\d,]+) environment steps", learner)
        assert going_on is not None
        assert int(going_on[1].replace(",", "")) > 0


def test_ctrl_c_ends_everything_in_order(cluster: RayCluster) -> None:
    with launched(cluster, target="1000") as run:
        run.trains()
        run.process.send_signal(signal.SIGINT)
        summary = run.end(130, timeout_s=90)
        assert list((run.place.run_folder / "checkpoints").glob("checkpoint-*.npz"))
        result = json.loads((run.place.run_folder / "result.json").read_text())
        assert result["stopped"]
        assert result["env_steps"] == summary["env_steps"]
        assert summary["steps_lost"] < 10_000


def test_a_launcher_that_is_killed_leaves_nothing_on_any_node(cluster: RayCluster) -> None:
    with launched(cluster, target="1000") as run:
        run.trains()
        run.process.kill()
        run.process.wait()
        until(
            lambda: not [w for node in WORKERS for w in cluster.commands(node) if "corral.launch.child" in w],
            90,
            "the end of every process",
        )


def test_a_cluster_without_room_is_told(cluster: RayCluster) -> None:
    with launched(cluster, "--set", "ray.learner_cpus=50", "--set", "ray.wait_s=15") as run:
        assert run.process.wait(120) == 1
        assert "had no room for the learner within ray.wait_s = 15 s" in run.said or "for the server" in run.said
        assert "CPU wanted, 8 there" in run.said
        assert not Path(run.place.run_folder / "keys").exists()
