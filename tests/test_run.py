"""`corral run` for real: solved, not solved, stopped, and with each of its processes killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from learner.checkpoints import load_newest
from tests.support.command import Workplace, workplace
from tests.support.processes import until

SUMMARY_KEYS = {
    "solved", "mean_return", "env_steps", "wall_s", "env_steps_per_s", "policy_version", "policy_lag_p50",
    "mean_batch", "latency_p50_ms", "latency_p99_ms", "seed",
}  # fmt: skip
ENDLESS = ("--set", "run.target_return=1000")


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


class Command:
    """A `corral run` in the making."""

    def __init__(self, place: Workplace, *options: str) -> None:
        self._place = place
        self.popen = subprocess.Popen(
            ["corral", "run", "examples/cartpole.toml", *options],
            cwd=place.folder,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, timeout_s: float = 90) -> tuple[int, str]:
        """Exit code and output."""
        try:
            output, _ = self.popen.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGTERM)
            output, _ = self.popen.communicate(timeout=30)
            raise AssertionError(f"it did not end by itself:\n{output}") from None
        return self.popen.returncode, output

    def until_training(self) -> None:
        """Wait until steps have been trained on: the log folder's learner has published more than once."""
        assert self.popen.stdout is not None
        seen = []
        for line in self.popen.stdout:
            seen.append(line)
            if " training " in line:
                return
        raise AssertionError("it never trained:\n" + "".join(seen))


def killed(place: Workplace, role: str) -> int:
    """Kill the process of `role`; its pid."""
    process = until(lambda: place.child(role), what=f"a {role}")
    process.kill()
    return process.pid


def gone(place: Workplace) -> Callable[[], bool]:
    return lambda: not place.leftovers()


def test_it_solves_and_leaves_what_it_says(place: Workplace) -> None:
    code, output = Command(place, "--summary", "summary.json", "--seed", "7").end()
    assert code == 0, output
    assert output.splitlines()[-1].startswith("solved: mean return ")
    summary = json.loads((place.folder / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert summary["solved"] is True
    assert summary["mean_return"] >= 30
    assert summary["seed"] == 7
    assert summary["env_steps"] > 1000
    assert place.leftovers() == []

    newest = load_newest(place.run_folder / "checkpoints")
    assert newest is not None
    assert newest[1].progress["policy_version"] == summary["policy_version"]
    import keras

    policy = keras.models.load_model(place.run_folder / "policy.keras")
    out = policy({"observation": np.zeros((2, 4), np.float32)})
    assert out["action"].shape == (2,)
    np.testing.assert_array_equal(np.argmax(out["logits"], -1), out["action"])


def test_a_target_that_is_not_reached_is_told(place: Workplace) -> None:
    code, output = Command(place, *ENDLESS, "--set", "run.max_env_steps=5000").end()
    assert code == 1, output
    assert "not solved (target 1000, step limit 5,000)" in output.splitlines()[-1]
    assert (place.run_folder / "policy.keras").exists()
    assert place.leftovers() == []


def test_ctrl_c_stops_everything_and_leaves_a_checkpoint(place: Workplace) -> None:
    command = Command(place, *ENDLESS)
    command.until_training()
    command.popen.send_signal(signal.SIGINT)
    code, output = command.end(30)
    assert code == 130
    assert output.splitlines()[-1].startswith("stopped: ")
    assert load_newest(place.run_folder / "checkpoints") is not None
    assert (place.run_folder / "policy.keras").exists()
    assert place.leftovers() == []


def test_the_run_has_a_folder_that_tells_all(place: Workplace) -> None:
    code, output = Command(place, "--set", "evaluation.episodes=8", "--set", "evaluation.every_s=1").end()
    assert code == 0, output
    folder = place.run_folder
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "best_policy.keras", "checkpoints", "curve.png", "evaluations.jsonl", "experiment.json", "ledgers",
        "logs", "metrics.jsonl", "policy.keras", "result.json", "returns.npy", "run.json", "summary.json",
        "tensorboard",
    }  # fmt: skip
    assert {path.stem for path in (folder / "logs").iterdir()} == {
        "server",
        "learner",
        "evaluator",
        *(f"actor-{n}" for n in range(4)),
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == sorted({line["env_steps"] for line in lines})
    assert lines[-1]["server/actors"] == 4
    assert "joined" in (folder / "logs" / "actor-3.log").read_text()
    evaluations = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    versions = [evaluation["policy_version"] for evaluation in evaluations]
    assert versions == sorted(set(versions))
    assert {evaluation["episodes"] for evaluation in evaluations} == {8}
    assert f"evaluation of policy {versions[0]}: mean return" in output
    best = max(evaluations, key=lambda evaluation: evaluation["mean_return"])
    told = json.loads((folder / "summary.json").read_text())["best_evaluation"]
    assert told == {name: best[name] for name in ("policy_version", "mean_return", "standard_error", "episodes")}
    assert lines[-1]["learner/wait_s"] < lines[-1]["learner/uptime_s"]
    assert lines[-1]["server/engine_s"] > 0
    assert {"actors/environment_s", "actors/wait_s"} <= lines[-1].keys()  # told seldom: both may still be 0


@pytest.mark.long
def test_ctrl_c_and_resume_reach_the_same_target(place: Workplace) -> None:
    command = Command(place, "--set", "run.target_return=400", "--set", "learner.checkpoint_every_s=1000")
    command.until_training()
    command.popen.send_signal(signal.SIGINT)
    code, output = command.end(30)
    assert code == 130
    folder = place.run_folder
    assert f"go on with: corral run --resume {folder.relative_to(place.folder)}" in output
    before = load_newest(folder / "checkpoints")
    assert before is not None

    resumed = place.corral("run", "--resume", str(folder), CORRAL_RUN__TARGET_RETURN="120")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert place.run_folder == folder  # the same one, and no other
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["solved"]
    assert summary["mean_return"] >= 120
    assert summary["env_steps"] > before[1].progress["env_steps"]
    assert summary["policy_version"] > before[1].progress["policy_version"]
    assert "going on from" in (folder / "logs" / "learner.log").read_text()
    assert len(json.loads((folder / "run.json").read_text())["starts"]) == 2
    assert place.leftovers() == []


@pytest.mark.long
def test_a_learner_that_is_killed_goes_on_from_its_checkpoint(place: Workplace) -> None:
    command = Command(place, "--set", "run.target_return=150", "--set", "learner.checkpoint_every_s=0.2")
    command.until_training()
    until(lambda: list((place.run_folder / "checkpoints").glob("*.npz")), what="a checkpoint")
    killed(place, "learner")
    code, output = command.end()
    assert code == 0, output
    assert "learner ended (killed by SIGKILL) and was started again" in output
    assert "going on from" in (place.run_folder / "logs" / "learner.log").read_text()
    assert place.leftovers() == []


def test_a_run_that_goes_on_cannot_be_resumed_beside_itself(place: Workplace) -> None:
    command = Command(place, *ENDLESS)
    command.until_training()
    assert "is in use: a run goes on there" in told(place, "run", "--resume", str(place.run_folder))
    command.popen.send_signal(signal.SIGINT)
    assert command.end(30)[0] == 130


@pytest.mark.long
def test_batching_is_set_while_it_runs(place: Workplace) -> None:
    command = Command(place, *ENDLESS, "--timeout-us", "300", "--buckets", "1,12,48")
    command.until_training()
    folder = str(place.run_folder)

    def said(*arguments: str) -> str:
        done = place.corral(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    figures = json.loads(said("status", folder, "--json"))
    assert (figures["timeout_us"], figures["max_size"], figures["buckets"]) == (300, 48, [1, 12, 48])
    assert "timeout_us = 700, max_size = 12, buckets = [1, 12]" in said(
        "set", folder, "server.batching.timeout_us=700", "server.batching.max_size=12"
    )
    assert command.popen.stdout is not None
    assert any("timeout 700 us" in line for line in command.popen.stdout)  # the view says so
    after = json.loads(said("status", folder, "--json"))
    assert after["traces"] == figures["traces"]  # nothing was compiled for it
    assert "were not compiled" in told(place, "set", folder, "server.batching.max_size=13")
    command.popen.send_signal(signal.SIGINT)
    assert command.end(30)[0] == 130


@pytest.mark.long
def test_actors_and_the_server_come_back_when_they_are_killed(place: Workplace) -> None:
    command = Command(place, "--set", "run.target_return=200")
    command.until_training()
    killed(place, "actor")
    server = killed(place, "server")
    until(lambda: (child := place.child("server")) and child.pid != server, what="another server")
    code, output = command.end()
    assert code == 0, output
    assert "server ended (killed by SIGKILL) and was started again" in output
    assert place.leftovers() == []


def test_nothing_survives_the_launcher(place: Workplace) -> None:
    command = Command(place, *ENDLESS)
    command.until_training()
    os.kill(command.popen.pid, signal.SIGKILL)
    command.popen.wait(10)
    until(gone(place), 20, "everything gone")


def told(place: Workplace, *arguments: str, **environment: str) -> str:
    """What a command that fails for the user's fault says: one line."""
    done = place.corral(*arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_environment_that_does_not_exist_is_named(place: Workplace) -> None:
    for command in ("actor", "server", "learner"):
        text = told(place, command, "examples/cartpole.toml", "--set", "environment.id=CartPool-v1")
        assert "CartPool" in text
    text = told(place, "run", "examples/cartpole.toml", "--set", "environment.id=CartPool-v1")
    assert "CartPool" in text
    assert place.leftovers() == []


def test_an_unknown_key_is_named_wherever_it_comes_from(place: Workplace) -> None:
    text = told(place, "run", "examples/cartpole.toml", "--set", "server.batching.timeout=5")
    assert "server.batching.timeout" in text
    assert "did you mean" in text
    text = told(place, "run", "examples/cartpole.toml", CORRAL_SERVER__BATCHING__TIMEOUT_US="soon")
    assert "CORRAL_SERVER__BATCHING__TIMEOUT_US" in text
    assert "server.batching.timeout_us = soon" in text


def test_a_port_in_use_is_told_at_once(place: Workplace) -> None:
    with psutil.Popen(
        ["python", "-c", "import zmq; s = zmq.Context().socket(zmq.ROUTER); s.bind('tcp://127.0.0.1:*');"
         "print(s.getsockopt_string(zmq.LAST_ENDPOINT), flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=place.environment,
    ) as holder:  # fmt: skip
        address = holder.stdout.readline().strip()
        text = told(place, "server", "examples/cartpole.toml", "--address", address)
        assert f"cannot listen on '{address}': the address is in use" in text
        text = told(place, "learner", "examples/cartpole.toml", "--unrolls-address", address)
        assert "the address is in use" in text
        holder.communicate("\n")


def test_other_machines_are_kept_out_unless_told_otherwise(place: Workplace) -> None:
    text = told(place, "server", "examples/cartpole.toml", "--address", "tcp://0.0.0.0:5555")
    assert "--insecure" in text


def test_a_missing_learner_is_told_to_the_actor(place: Workplace) -> None:
    address = f"ipc://{place.temporary}/server"
    server = subprocess.Popen(
        ["corral", "server", "examples/cartpole.toml", "--address", address],
        cwd=place.folder,
        env=place.environment,
    )
    try:
        done = subprocess.run(
            ["corral", "actor", "examples/cartpole.toml", "--server", address,
             "--set", "actor.give_up_after_s=8", "--set", "actor.resend_after_s=0.5"],
            cwd=place.folder, env=place.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1
        assert "the server waits for its learner" in done.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert place.leftovers() == []
