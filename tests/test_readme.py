"""Every command of the README runs, as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.command import ROOT, Workplace, workplace
from tests.support.models import save_two_headed_model
from tests.support.processes import until_serving
from tests.test_examples import line_of, started

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]  # some run three commands of half a minute each

README = (ROOT / "README.md").read_text()
AGENTS = (ROOT / "docs" / "agents.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
ELSEWHERE = {
    "make test": "test_make_test",
    "docker compose up": "tests/test_compose.py",
    "corral run examples/cartpole_ppo.toml": "tests/test_examples.py",
    "corral run examples/pendulum_ddpg.toml": "tests/test_examples.py",
    "CORRAL_SERVER_ADDRESS=tcp://HOST:5555 docker compose -f docker-compose.actors.yml up": "tests/test_compose.py",
}
"""Commands that are not run here, as they stand, and where what they do is tested."""


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


def run(place: Workplace, command: str, folder: Path | None = None, **meant: str) -> str:
    """What a command of the README says when it runs to its end; `meant` stands in for what is an example there."""
    assert command in COMMANDS, "the README has changed: so must this test"
    for example, real in meant.items():
        command = command.replace(example, real)
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder or place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def start(stack: ExitStack, place: Workplace, command: str, **meant: str) -> subprocess.Popen[str]:
    assert command in COMMANDS, "the README has changed: so must this test"
    for example, real in meant.items():
        command = command.replace(example, real)
    return stack.enter_context(started(place, *command.split()))


def test_make_run(place: Workplace) -> None:
    place.environment["CORRAL_RUN__FOLDER"] = str(place.folder / "runs")
    assert "solved: mean return" in run(place, "make run", ROOT)
    assert (place.run_folder / "policy.keras").exists()


def test_make_test() -> None:
    # Running the suite within the suite would not end: what make would do is enough.
    would = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert '.venv/bin/python -m pytest -m "not long"' in would.stdout.splitlines()


def test_serving_a_model_of_ones_own(place: Workplace) -> None:
    save_two_headed_model(place.folder / "policy.keras")
    (code,) = blocks("python")
    with ExitStack() as stack:
        start(stack, place, "corral serve policy.keras")
        until_serving("tcp://127.0.0.1:5555")
        done = subprocess.run(
            ["python", "-c", code + "print(outputs['logits'].shape)"],
            cwd=place.folder,
            env=place.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "(3, 2)\n", done.stderr


def test_training(place: Workplace) -> None:
    run(place, "corral run examples/cartpole.toml --summary summary.json")
    assert json.loads((place.folder / "summary.json").read_text())["solved"]


def test_overriding_keys(place: Workplace) -> None:
    run(place, "corral run examples/cartpole.toml --set server.batching.timeout_us=500 --seed 3")
    run(place, "CORRAL_SERVER__BATCHING__TIMEOUT_US=500 corral run examples/cartpole.toml")
    for folder in (place.folder / "runs").iterdir():
        experiment = json.loads((folder / "experiment.json").read_text())
        assert experiment["server"]["batching"]["timeout_us"] == 500
    listed = run(place, "corral config examples/cartpole.toml")
    assert "\ntimeout_us = 1000  # 0 by default; from examples/cartpole.toml" in listed


def test_resuming(place: Workplace) -> None:
    run(place, "corral run examples/cartpole.toml --summary summary.json")
    place.environment["CORRAL_RUN__TARGET_RETURN"] = "50"
    name = "cartpole-20261124-120000"
    said = run(place, f"corral run --resume runs/{name}", **{name: place.run_folder.name})
    assert "solved: mean return" in said


def test_a_doctor_looks_at_the_machine(place: Workplace) -> None:
    assert "time per step" in run(place, "corral doctor examples/cartpole.toml")


def test_an_environment_of_ones_own(place: Workplace) -> None:
    run(place, "corral init CartPole-v1")
    assert "solved: mean return" in run(place, "corral run cartpole.toml")


def test_a_network_of_ones_own(place: Workplace) -> None:
    (shown,) = re.findall(r"```python\n(import keras\n.*?def build.*?)```", AGENTS, re.DOTALL)
    (place.folder / "nets.py").write_text(shown)
    run(place, "corral run examples/cartpole.toml --set agent.network.build=nets:build")


def test_other_machines(place: Workplace) -> None:
    with ExitStack() as stack:
        run(place, "corral keys new keys")
        run(place, "corral keys bundle keys actor actor for-actors")
        start(stack, place, "corral server examples/cartpole.toml --address tcp://0.0.0.0:5555 --keys keys")
        actor = "corral actor examples/cartpole.toml --server tcp://HOST:5555 --keys for-actors"
        start(stack, place, actor, HOST="127.0.0.1")
        run(place, "corral learner examples/cartpole.toml --keys keys")
    assert (place.run_folder / "policy.keras").exists()


def test_watching_and_steering(place: Workplace) -> None:
    said = run(place, "corral run examples/cartpole.toml --dashboard")
    assert re.search(r"^dashboard: http://127.0.0.1:\d+/\?token=", said, re.MULTILINE)
    assert "solved: mean return" in said
    with ExitStack() as stack:
        dashboard = start(stack, place, "corral dashboard HOST", HOST="127.0.0.1")
        assert "http://127.0.0.1:" in line_of(dashboard, "token=")


def test_tuning(place: Workplace) -> None:
    run(place, "corral run examples/cartpole.toml --timeout-us 500 --max-size 48 --buckets 1,12,48")
    batching = json.loads((place.run_folder / "experiment.json").read_text())["server"]["batching"]
    assert batching | {"timeout_us": 500, "max_size": 48, "buckets": [1, 12, 48]} == batching
    save_two_headed_model(place.folder / "policy.keras")
    with ExitStack() as stack:
        start(stack, place, "corral serve policy.keras")
        until_serving("tcp://127.0.0.1:5555")
        assert "127.0.0.1  serving" in run(place, "corral top HOST", HOST="127.0.0.1")
        assert "timeout_us = 500" in run(place, "corral set HOST server.batching.timeout_us=500", HOST="127.0.0.1")
        assert re.search(r"^timeout_us +500$", run(place, "corral status HOST", HOST="127.0.0.1"), re.MULTILINE)


def test_measuring(place: Workplace) -> None:
    assert re.search(r"mlp +STEP +64 in 2", run(place, "corral bench"))
    run(place, "corral bench --clients 1,64 --seconds 2 --plot bench.png")
    assert (place.folder / "bench.png").exists()
    save_two_headed_model(place.folder / "policy.keras")
    told = run(place, "corral bench --model policy.keras --rate 2000 --json")
    (result,) = json.loads(told[told.index("{") :])["results"]
    assert result["rate"] == 2000


def test_finding_the_timeout(place: Workplace) -> None:
    assert "timeout_us = " in run(place, "corral tune examples/cartpole.toml")


def test_a_training_loop_of_ones_own(place: Workplace) -> None:
    with ExitStack() as stack:
        start(stack, place, "corral server examples/cartpole.toml")
        start(stack, place, "corral actor examples/cartpole.toml")
        loop = start(stack, place, "python examples/own_training_loop.py")
        assert "mean return" in line_of(loop, "version 50:")


def test_the_roles_by_hand(place: Workplace) -> None:
    with ExitStack() as stack:
        start(stack, place, "corral server examples/cartpole.toml")
        start(stack, place, "corral actor examples/cartpole.toml")
        run(place, "corral learner examples/cartpole.toml")
    assert (place.run_folder / "policy.keras").exists()


def test_no_command_is_left_out() -> None:
    tests = Path(__file__).read_text()
    resumed = "corral run --resume runs/cartpole-20261124-120000"
    assert [command for command in COMMANDS if f'"{command}"' not in tests and command != resumed] == []
    assert set(COMMANDS) >= ELSEWHERE.keys()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            assert (ROOT / file).exists(), target
            assert not heading or f"# {heading.replace('-', ' ')}" in (ROOT / file).read_text().lower(), target
