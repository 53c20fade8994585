"""The same seed, the same weights: whole runs as processes, shared among more or fewer, resumed and killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from learner.checkpoints import load_newest
from learner.lockstep import fingerprint
from tests.support.command import Workplace, workplace
from tests.support.processes import until

SMALL = {
    "run.determinism": "true",
    "run.target_return": "1000",
    "learner.batch_unrolls": "8",
    "agent.unroll_length": "8",
}
"""CartPole with about 64 environment steps from one version to the next, of which none ends the run early."""
STEPS_PER_VERSION = 64


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as made:
        yield made


class Runs:
    """Runs of one experiment: 8 environments, shared among as many processes as is said."""

    def __init__(self, place: Workplace, example: str = "cartpole", **settings: str) -> None:
        self._place = place
        self._example = example
        self._settings = settings

    def run(
        self, name: str, processes: int, *arguments: str, timeout_s: float = 250, **settings: Any
    ) -> dict[str, Any]:
        """A run from beginning to end, or with `--resume` from there on; its summary."""
        return self.outcome(name, self.words(name, processes, *arguments, **settings), timeout_s)

    def words(self, name: str, processes: int, *arguments: str, **settings: Any) -> list[str]:
        """The arguments of `corral`."""
        asked = self._settings | {
            "run.folder": f"runs-{name}",
            "actor.processes": str(processes),
            "actor.environments": str(8 // processes),
        }
        asked |= {key.replace("__", "."): str(value) for key, value in settings.items()}
        sets = [word for key, value in asked.items() for word in ("--set", f"{key}={value}")]
        what = arguments or (f"examples/{self._example}.toml",)
        return ["run", *what, "--plain", "--summary", f"{name}.json", *sets]

    def outcome(self, name: str, words: list[str], timeout_s: float = 250) -> dict[str, Any]:
        """Run to the end; the summary."""
        done = self._place.corral(*words, timeout_s=timeout_s)
        assert done.returncode in (0, 1), done.stderr  # 1: the step limit came before the target
        summary: dict[str, Any] = json.loads((self._place.folder / f"{name}.json").read_text())
        return summary

    def folder(self, name: str) -> Path:
        """The folder of the run of that name."""
        (found,) = (self._place.folder / f"runs-{name}").iterdir()
        return found


@pytest.mark.timeout(150)
def test_one_process_and_two_come_to_the_same_weights(place: Workplace) -> None:
    runs = Runs(place, **SMALL, **{"run.max_env_steps": str(30 * STEPS_PER_VERSION)})
    summaries: dict[int, dict[str, Any]] = {}

    def run(processes: int) -> None:
        summaries[processes] = runs.run(
            f"of-{processes}", processes, learner__checkpoint_every_versions=12, actor__pipeline=processes
        )

    threads = [Thread(target=run, args=(processes,)) for processes in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = summaries[1], summaries[2]
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["policy_version"] == two["policy_version"] >= 25
    assert one["mean_return"] == two["mean_return"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_thousand_updates_are_the_same_with_any_number_of_processes_and_after_a_resume(place: Workplace) -> None:
    thousand = 1_010 * STEPS_PER_VERSION
    runs = Runs(place, **SMALL, **{"run.max_env_steps": str(thousand)})

    straight = runs.run("one", 1)
    assert straight["policy_version"] > 1_000
    for processes in (2, 4):
        assert runs.run(f"of-{processes}", processes)["weights_sha256"] == straight["weights_sha256"]

    half = runs.run("resumed", 2, run__max_env_steps=thousand // 2)
    assert half["weights_sha256"] != straight["weights_sha256"]
    again = runs.run("resumed", 4, "--resume", str(runs.folder("resumed")))
    assert again["weights_sha256"] == straight["weights_sha256"]
    assert again["env_steps"] == straight["env_steps"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_whoever_is_killed_the_weights_are_the_same(place: Workplace) -> None:
    settings = {"run.max_env_steps": str(320 * STEPS_PER_VERSION), "learner.checkpoint_every_versions": "20"}
    runs = Runs(place, **SMALL, **settings)
    undisturbed = runs.run("undisturbed", 2)

    summaries: list[dict[str, Any]] = []
    thread = Thread(target=lambda: summaries.append(runs.run("killed", 2)))
    thread.start()
    for version, role in ((30, "learner"), (100, "server"), (170, "actor"), (240, "learner")):
        until(lambda version=version: _version(place) >= version, 120, f"version {version}")
        victim = place.child(role)
        assert victim is not None
        victim.send_signal(signal.SIGKILL)
    thread.join()
    (killed,) = summaries
    assert killed["restarts"] >= 4 + 2  # a server or an actor takes the learner along
    assert killed["weights_sha256"] == undisturbed["weights_sha256"]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize(
    ("example", "settings"),
    [
        ("cartpole_ppo", {"run.max_env_steps": "30000"}),
        ("cartpole_dqn", {"run.max_env_steps": "6000"}),
        ("memory_r2d2", {"run.max_env_steps": "6000"}),
        ("pendulum_sac", {"run.max_env_steps": "4000"}),
    ],
)
def test_every_kind_of_agent_comes_to_the_same_weights(
    place: Workplace, example: str, settings: dict[str, str], backend: str
) -> None:
    """On-policy in minibatches, a replay with priorities, one with memory, one that draws noise as it trains."""
    place.environment["KERAS_BACKEND"] = backend
    runs = Runs(place, example, **settings, **{"run.determinism": "true", "run.target_return": "100000"})
    spacing = {"learner__checkpoint_every_versions": 10}
    one, two = (runs.run(f"of-{processes}", processes, **spacing) for processes in (1, 2))
    assert one["weights_sha256"] == two["weights_sha256"]
    assert one["policy_version"] == two["policy_version"] > 20

    runs.run("resumed", 2, **spacing, run__max_env_steps=int(settings["run.max_env_steps"]) // 2)
    again = runs.run("resumed", 1, "--resume", str(runs.folder("resumed")), **spacing)
    assert again["weights_sha256"] == one["weights_sha256"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_comparison_can_fail(place: Workplace) -> None:
    """Another seed has other weights; so have two runs of one seed that are not in lockstep."""
    runs = Runs(place, **SMALL, **{"run.max_env_steps": str(30 * STEPS_PER_VERSION)})
    assert runs.run("zero", 2)["weights_sha256"] != runs.run("one", 2, run__seed=1)["weights_sha256"]

    free = []
    for name in ("free", "free-again"):
        assert "weights_sha256" not in runs.run(name, 2, run__determinism="false")
        found = load_newest(runs.folder(name) / "checkpoints")
        assert found is not None
        free.append(fingerprint(found[1].state))
    assert free[0] != free[1]


def _version(place: Workplace) -> int:
    """The policy version that the run called "killed" has written down last."""
    for path in place.folder.glob("runs-killed/*/metrics.jsonl"):
        lines = path.read_text().splitlines()
        return int(json.loads(lines[-1]).get("learner/policy_version", 0)) if lines else 0
    return 0
