"""`corral run` with several policies: a frozen one is beaten, a past one is caught up with, two are compared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import ROOT, Workplace, workplace
from tests.support.models import save_stubborn_policy

ROCK, PAPER, SCISSORS = range(3)
GAME = """
[actor]
processes = 1
environments = 8
[server.batching]
max_size = 8
[agent]
unroll_length = 4
discount = 0.5
[agent.optimizer]
learning_rate = 1e-2
[agent.network]
hidden = [16]
"""


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        place.environment["PYTHONPATH"] = str(ROOT)
        place.environment["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
        del place.environment["CORRAL_RUN__TARGET_RETURN"]
        yield place


def run(
    place: Workplace, experiment: str, *options: str, timeout_s: float = 300
) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output and summary of a run."""
    (place.folder / "game.toml").write_text(experiment)
    ran = place.corral("run", "game.toml", "--summary", "summary.json", *options, timeout_s=timeout_s)
    summary = json.loads((place.folder / "summary.json").read_text())
    return ran.returncode, ran.stdout + ran.stderr, summary


def best_answers(policy: Path) -> list[int]:
    """What a saved policy does, greedily, whatever it sees."""
    import keras

    model = keras.models.load_model(policy)
    return np.asarray(model.predict_on_batch({"observation": np.arange(4)})["action"]).tolist()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_frozen_opponent_is_beaten(place: Workplace) -> None:
    save_stubborn_policy(place.folder / "rock.keras", ROCK)
    experiment = f"""
    [run]
    target_return = 3.6
    max_env_steps = 200_000
    [environment]
    id = "pettingzoo.classic.rps_v2:parallel_env"
    kwargs = {{max_cycles = 4}}
    [policies.rock]
    frozen = "rock.keras"
    players = ["player_1"]
    [policies.main]
    players = ["player_0"]
    {GAME}"""
    code, output, summary = run(place, experiment)
    assert code == 0, output
    assert "solved: mean return" in output
    main, rock = (summary["policies"][name] for name in ("main", "rock"))
    assert main["mean_return"] >= 3.6
    assert rock["mean_return"] <= -3.5
    assert summary["mean_return"] == main["mean_return"]
    assert rock["policy_version"] == 0
    # One player each: whatever main did, rock did too, but for what was under way at the end.
    assert abs(main["env_steps"] - rock["env_steps"]) <= 0.05 * main["env_steps"] + 200
    folder = place.run_folder / "policies"
    assert set(best_answers(folder / "main" / "policy.keras")) == {PAPER}
    assert not (folder / "rock" / "policy.keras").exists()
    assert not (folder / "rock" / "checkpoints").exists()
    assert place.leftovers() == []


@pytest.mark.long
@pytest.mark.timeout(500)
def test_self_play_ends_where_nobody_can_be_beaten(place: Workplace) -> None:
    experiment = f"""
    [run]
    max_env_steps = 60_000
    [environment]
    id = "tests.support.match:HighCard"
    [policies.main]
    players = ["left"]
    [policies.past]
    past = "main"
    every = 20
    players = ["right"]
    {GAME}"""
    code, output, summary = run(place, experiment)
    assert code == 0, output
    assert summary["env_steps"] >= 60_000
    folder = place.run_folder / "policies"
    assert set(best_answers(folder / "main" / "policy.keras")) == {2}
    lines = [json.loads(line) for line in (folder / "main" / "metrics.jsonl").read_text().splitlines()]
    told = place.corral("evaluate", str(place.run_folder), "--policy", "main", "--episodes", "5", "--json")
    assert json.loads(told.stdout)["mean_return"] == 0.0, told.stderr  # against itself: nobody wins
    returns = [line["mean_return"] for line in lines if line.get("mean_return") is not None]
    # At first the past plays at random and is beaten; in the end it shows the highest card, too.
    assert max(returns) > 0.3
    assert abs(returns[-1]) < 0.2


@pytest.mark.long
@pytest.mark.timeout(500)
def test_two_policies_are_compared_by_one_fleet_and_go_on(place: Workplace) -> None:
    options = ("--set", "run.target_return=1000", "--summary", "summary.json")
    ran = place.corral(
        "run", "examples/ab_cartpole.toml", "--set", "run.max_env_steps=8000", *options, timeout_s=200
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr  # not solved: nobody reaches 1000
    first = json.loads((place.folder / "summary.json").read_text())["policies"]
    assert list(first) == ["quick", "slow"]
    assert first["quick"]["env_steps"] >= 8000
    # Whose server was ready first began first; test_policies counts shares exactly.
    assert first["slow"]["env_steps"] > 0
    folder = place.run_folder
    rates = {
        name: json.loads((folder / "policies" / name / "experiment.json").read_text())["agent"]["optimizer"]
        for name in first
    }
    assert rates["quick"]["learning_rate"] == 3e-3
    assert rates["slow"]["learning_rate"] == 2e-4

    more = place.corral(
        "run", "--resume", str(folder), "--set", "run.max_env_steps=12000", *options[2:], timeout_s=200
    )
    assert more.returncode == 1, more.stdout + more.stderr
    assert "slow: going on from" in more.stdout
    second = json.loads((place.folder / "summary.json").read_text())["policies"]
    assert second["quick"]["env_steps"] >= 12_000
    assert second["slow"]["env_steps"] > first["slow"]["env_steps"]
    told = place.corral("evaluate", str(folder), "--policy", "slow", "--episodes", "5", "--json")
    assert json.loads(told.stdout)["episodes"] == 5, told.stderr
    assert place.leftovers() == []


@pytest.mark.long
@pytest.mark.timeout(500)
def test_roles_by_hand(place: Workplace) -> None:
    """Each in a process of its own; the second policy's addresses follow from the first one's."""
    save_stubborn_policy(place.folder / "rock.keras", ROCK)
    (place.folder / "game.toml").write_text(f"""
    [run]
    target_return = 3.6
    [environment]
    id = "tests.support.match:RockPaperScissors"
    [server]
    address = "ipc://{place.temporary}/actors"
    [policies.main]
    players = ["left"]
    [policies.rock]
    frozen = "rock.keras"
    players = ["right"]
    {GAME}
    [learner]
    unrolls_address = "ipc://{place.temporary}/unrolls"
    weights_address = "ipc://{place.temporary}/weights"
    """)
    with ExitStack() as stack:
        for command in (("server", "--policy", "main"), ("server", "--policy", "rock"), ("actor",)):
            stack.enter_context(by_hand(place, command[0], "game.toml", *command[1:]))
        learned = place.corral(
            "learner", "game.toml", "--policy", "main", "--run-folder", "runs/main", timeout_s=300
        )
        assert learned.returncode == 0, learned.stdout + learned.stderr
        assert "solved: mean return" in learned.stdout
    assert set(best_answers(place.folder / "runs" / "main" / "policy.keras")) == {PAPER}
    for command, text in (
        (("server", "game.toml"), "name one with --policy: main, rock"),
        (("server", "game.toml", "--policy", "rook"), "--policy rook: the experiment's policies are main, rock"),
        (("learner", "game.toml", "--policy", "rock"), "--policy rock: a policy that is frozen, or a past one"),
        (("actor", "game.toml", "--server", "rook=there"), "--server rook=there: the experiment's policies are"),
    ):
        refused = place.corral(*command)
        assert refused.returncode == 2
        assert text in refused.stderr


@contextmanager
def by_hand(place: Workplace, *command: str) -> Iterator[None]:
    """A `corral` command that runs for as long as the block."""
    log = (place.folder / f"{'-'.join(command).replace('/', '-')}.log").open("w+")
    process = subprocess.Popen(
        ["corral", *command],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            log.seek(0)
            print(f"--- {' '.join(command)}\n{log.read()}")
            log.close()
