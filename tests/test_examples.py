"""Each example runs: the learner's two ends by themselves, and a training loop around both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.command import Workplace, workplace


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
