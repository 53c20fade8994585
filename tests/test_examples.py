"""Each example runs: every experiment cut short, and the learner's two ends by themselves.

README's tests run the training loop around both.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from corral.launch.policies import policy_folder
from tests.support.command import ROOT, Workplace, workplace

EXPERIMENTS = sorted(path.name for path in (ROOT / "examples").glob("*.toml"))
CUT_SHORT = {
    "run.max_env_steps": 1200,
    "actor.processes": 1,
    # Little is gathered ahead of training, so that there is some before the end.
    "learner.batch_unrolls": 8,
    "learner.queue_batches": 1,
    "learner.replay.min_size": 200,
    "learner.replay.slack": 16,
    "learner.replay.samples_per_insert": 4,
}


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


@contextmanager
def started(place: Workplace, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until the block ends."""
    process = subprocess.Popen(
        command,
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str], text: str) -> str:
    """The first line that `process` says with `text` in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


@pytest.mark.long
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_cut_short(place: Workplace, name: str) -> None:
    del place.environment["CORRAL_RUN__TARGET_RETURN"]
    overrides = [f"--set={key}={value}" for key, value in CUT_SHORT.items()]
    ran = place.corral("run", f"examples/{name}", *overrides)
    # What has no target ends well; what has one cannot have reached it.
    target = tomllib.loads((ROOT / "examples" / name).read_text())["run"].get("target_return")
    assert ran.returncode == (0 if target is None else 1), ran.stdout + ran.stderr
    assert "finished: mean return" in ran.stdout or "not solved (target" in ran.stdout
    folder = policy_folder(place.run_folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["env_steps"] >= CUT_SHORT["run.max_env_steps"]
    assert result["training_steps"] > 0
    assert (folder / "policy.keras").exists()
    assert list((place.run_folder / "checkpoints").glob("*.npz"))
    assert place.leftovers() == []


def test_reading_unrolls_and_pushing_weights(place: Workplace) -> None:
    from actor_client import EnvironmentSettings
    from actor_client.environments import spaces
    from corral.agents import build_agent
    from corral.launch import load_experiment
    from learner.policy_file import save_policy

    experiment = load_experiment(place.folder / "examples" / "cartpole.toml")
    agent = build_agent(experiment.agent, *spaces(EnvironmentSettings("CartPole-v1")))
    save_policy(agent, place.folder / "policy.keras")
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[str]:
            return stack.enter_context(started(place, *command))

        start("corral", "server", "examples/cartpole.toml")
        start("corral", "actor", "examples/cartpole.toml")
        reader = start("python", "examples/read_unrolls.py")
        pusher = start("python", "examples/push_weights.py", "policy.keras")
        assert line_of(pusher, "published version") == "published version 1\n"
        assert "actions (17, 32)" in line_of(reader, "steps; rewards")
        assert "an episode of" in line_of(reader, "returned")
