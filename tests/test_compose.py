"""`docker compose up` trains CartPole, and goes on when a container crashes.

A sequence over one run: each test goes on from where the last one left it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT
from tests.support.engine import Project, docker, is_well, require_engine
from tests.support.processes import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

PORT = 5555
# Steps that teach nothing: minutes of training beyond the end may as well unlearn it all.
OUT_OF_REACH = (
    "CORRAL_RUN__TARGET_RETURN=501\nCORRAL_RUN__MAX_ENV_STEPS=100_000_000\n"
    "CORRAL_AGENT__OPTIMIZER__LEARNING_RATE=1e-12\n"
)
WITHIN_REACH = "CORRAL_RUN__TARGET_RETURN=195\n"
ENVIRONMENTS, UNROLL_LENGTH = 48, 16  # as the experiment has them
OTHER_FILES = ("docker-compose.actors.yml", "docker-compose.secrets.yml", "docker-compose.two.yml")
DOCKER_PAGE = (ROOT / "docs" / "docker.md").read_text()
READ_BOOKS = """
import json
from dataclasses import asdict
from pathlib import Path
from inference_server.ledger import read_ledgers

run = Path("/runs/cartpole")
print(json.dumps({
    "ledgers": {f"{name:016x}": asdict(entry) for name, entry in read_ledgers(Path("/ledgers/cartpole")).items()},
    "accepted": json.loads((run / "result.json").read_text())["steps_accepted"],
    "steps_lost": json.loads((run / "summary.json").read_text())["steps_lost"],
}))
"""
OFTEN_SAVED = "CORRAL_LEARNER__CHECKPOINT_EVERY_S=1\n"


class Run:
    """The services of docker-compose.yml, whose port is published for containers alone.

    Attributes:
      project: the services.
      gateway: the address of this machine at which the server is published.
    """

    def __init__(self, name: str, gateway: str, settings: Path) -> None:
        self.gateway = gateway
        self._settings = settings
        self.set_target(OUT_OF_REACH)
        self.project = Project(name, CORRAL_PUBLISH=gateway, CORRAL_PORT=str(PORT), CORRAL_SETTINGS=str(settings))

    def set_target(self, settings: str) -> None:
        """What the learner will find in its environment when it is made again."""
        self._settings.write_text(settings + OFTEN_SAVED)

    def server(self) -> dict[str, Any]:
        return self.project.figures("inference-server", 5555)

    def learner(self) -> dict[str, Any]:
        return self.project.figures("learner", 5556, "--learner")

    def books(self) -> dict[str, Any]:
        """What servers and learner wrote down, each for itself; the learner must have ended."""
        command = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "learner", "-c", READ_BOOKS)
        books: dict[str, Any] = json.loads(self.project.compose(*command))
        return books

    def until_actors(self, number: int) -> None:
        """Wait for so many sessions. A crashed actor's own stays until its lease ends, after ten seconds."""
        until(lambda: self.server().get("actors") == number, 180, f"{number} sessions")

    def until_learning(self) -> None:
        """Wait for steps and training steps that are not there yet."""
        steps, trained = self.server()["env_steps"], self.learner()["training_steps"]
        until(lambda: self.server().get("env_steps", 0) > steps, 30, "an environment step")
        until(lambda: self.learner().get("training_steps", 0) > trained, 30, "a training step")

    def until_back(self, service: str, restarts: int = 1) -> None:
        """Wait until the first container of `service` was started again, and is well."""

        def back() -> bool:
            first = self.project.containers(service)[0]
            return first["RestartCount"] == restarts and is_well(first)

        until(back, 60, f"{service} back")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    require_engine()
    name = f"corral-test-{os.getpid()}"
    docker("network", "create", name)
    try:
        gateway = docker("network", "inspect", name, "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        run = Run(name, gateway, tmp_path_factory.mktemp("compose") / "corral.env")
        try:
            run.project.compose("build", timeout_s=1200)
            yield run
        finally:
            print(run.project.compose("logs", "--no-color", "--tail", "50"))
            run.project.end()
    finally:
        docker("network", "rm", name)


def test_the_listed_defaults_are_the_defaults() -> None:
    listed = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE))
    assert listed.pop("COMPOSE_PROFILES") == "cpu"
    used: dict[str, str] = {}
    for file in ("docker-compose.yml", *OTHER_FILES):
        for variable, default in re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / file).read_text()):
            assert used.setdefault(variable, default) == default, f"{variable} in {file}"
    assert listed == used
    assert [variable for variable in listed if f"`{variable}`" not in DOCKER_PAGE] == []


@pytest.mark.timeout(1500)  # where the images are not built yet
def test_everything_gets_ready(run: Run) -> None:
    run.project.start()
    for service, number in (("inference-server", 1), ("learner", 1), ("actor", 4)):
        assert [is_well(each) for each in run.project.containers(service)] == [True] * number
    assert run.server()["actors"] == 4
    run.until_learning()


@pytest.mark.timeout(600)  # everything starts twice
def test_a_rolling_restart_loses_no_step_that_was_accepted(run: Run) -> None:
    (command,) = re.findall(r"^docker compose (up .*--force-recreate.*)$", DOCKER_PAGE, re.MULTILINE)
    (before,) = run.project.containers("inference-server")
    actors = [each["Id"] for each in run.project.containers("actor")]
    run.project.compose(*command.split(), timeout_s=120)
    (after,) = run.project.containers("inference-server")
    assert after["Id"] != before["Id"]
    run.until_actors(4)
    run.until_learning()
    assert [(each["Id"], each["RestartCount"]) for each in run.project.containers("actor")] == [
        (identity, 0) for identity in actors
    ]
    for service in ("actor", "inference-server", "learner"):
        run.project.compose("stop", service, timeout_s=100)
    books = run.books()
    old, new = books["ledgers"].values()
    assert old["closed"]
    assert new["closed"]
    for name, entry in books["ledgers"].items():
        # What a server believes to be accepted, the learner has accepted; the rest was in open unrolls.
        assert entry["accepted"] == books["accepted"].pop(name) > 0
        open_steps = entry["completed"] - entry["accepted"] - entry["dropped"]
        assert 0 <= open_steps <= ENVIRONMENTS * UNROLL_LENGTH
        assert entry["dropped"] <= ENVIRONMENTS * UNROLL_LENGTH
    assert books["accepted"] == {}
    assert books["steps_lost"] == old["dropped"] + new["dropped"]
    run.project.start("--no-recreate")


def test_profiles() -> None:
    require_engine()
    project = Project("corral-test")
    monitored = project.compose("--profile", "monitoring", "config", "--services").split()
    assert "prometheus" in monitored
    both = project.compose("config", "--services"), project.compose("--profile", "gpu", "config", "--services")
    assert [set(services.split()) for services in both] == [
        {"keys", "inference-server", "learner", "actor"},
        {"keys", "inference-server-gpu", "learner-gpu", "actor"},
    ]


def test_the_images(run: Run) -> None:
    for service in ("inference-server", "learner", "actor"):

        def inside(*command: str, service: str = service) -> str:
            return run.project.compose("exec", "-T", service, *command).strip()

        assert inside("id", "--user") == "10001"
        with pytest.raises(AssertionError, match="Read-only file system"):
            inside("touch", "/work/file")
        known = inside("python", "-c", "import importlib.util as u; print(bool(u.find_spec('tensorflow')))")
        assert known == str(service != "actor")


def test_an_actors_container_holds_an_actors_keys_alone(run: Run) -> None:
    def held(service: str) -> list[str]:
        return sorted(run.project.compose("exec", "-T", service, "find", "/keys", "-name", "*_secret").split())

    assert held("actor") == ["/keys/actors/actor.key_secret"]
    assert len(held("inference-server")) == 4
    with pytest.raises(AssertionError):  # an actor's key asks for no figures
        run.project.compose("exec", "-T", "actor", "corral", "status", "tcp://inference-server:5555")


def test_the_server_alone_is_published(run: Run) -> None:
    published = {
        service: [bind for binds in each["NetworkSettings"]["Ports"].values() for bind in binds or ()]
        for service in ("inference-server", "learner", "actor")
        for each in run.project.containers(service)
    }
    here = {"HostIp": run.gateway, "HostPort": str(PORT)}
    assert published == {"inference-server": [here], "learner": [], "actor": []}


def test_a_crashed_actor_comes_back(run: Run) -> None:
    run.project.crash("actor")
    run.until_back("actor")
    run.until_actors(4)
    assert [each["RestartCount"] for each in run.project.containers("actor")] == [1, 0, 0, 0]


def test_a_crashed_server_comes_back_and_finds_its_actors(run: Run) -> None:
    run.project.crash("inference-server")
    run.until_back("inference-server")
    run.until_actors(4)
    run.until_learning()


def test_a_crashed_learner_goes_on_from_its_checkpoint(run: Run) -> None:
    before = run.learner()
    run.project.crash("learner")
    run.until_back("learner")
    # Of what it had learned, it has lost no more than there was between two checkpoints.
    assert run.learner()["training_steps"] > before["training_steps"] / 2
    run.until_learning()


def test_scaling(run: Run) -> None:
    run.project.start("--no-recreate", "--scale", "actor=5")
    run.until_actors(5)


def test_actors_of_another_machine(run: Run, tmp_path: Path) -> None:
    for command in re.findall(r"^docker compose exec .*$", DOCKER_PAGE, re.MULTILINE):
        if "for-actors" in command:  # as root, so that the folder keeps the owner that it had in the container
            shell = ["sh", "-ec", command.replace("tar --extract", f"tar --extract --directory {tmp_path}")]
            subprocess.run(shell, cwd=ROOT, env=run.project.environment, check=True, timeout=60)
    assert {path.name for path in (tmp_path / "for-actors").rglob("*.*")} == {"actor.key_secret", "server.key"}
    there = Project(
        f"{run.project.name}-actors",
        COMPOSE_FILE="docker-compose.actors.yml",
        CORRAL_SERVER_ADDRESS=f"tcp://{run.gateway}:{PORT}",
        CORRAL_ACTORS="2",
        CORRAL_ACTOR_KEYS=str(tmp_path / "for-actors"),
        CORRAL_USER="10001",
    )
    try:
        there.start("--no-build")
        run.until_actors(7)
    finally:
        there.end()
    run.until_actors(5)
    assert there.leftovers() == []
    del there.environment["CORRAL_SERVER_ADDRESS"]
    with pytest.raises(AssertionError, match="such as tcp://HOST:5555"):
        there.compose("config")


def test_a_setting_of_the_environment(run: Run) -> None:
    config = json.loads(run.project.compose("config", "--format", "json"))
    assert config["services"]["inference-server"]["environment"]["CORRAL_SERVER__BATCHING__TIMEOUT_US"] == "1000"
    assert run.server()["timeout_us"] == 1000
    run.project.environment["CORRAL_BATCH_TIMEOUT_US"] = "500"
    run.project.start("inference-server")
    assert run.server()["timeout_us"] == 500
    run.until_actors(5)


def test_it_ends_when_the_target_is_reached(run: Run) -> None:
    run.set_target(WITHIN_REACH)
    run.project.compose("up", "--detach", "learner")

    def ended() -> dict[str, Any] | None:
        (learner,) = run.project.containers("learner")
        return learner if learner["State"]["Status"] == "exited" else None

    learner = until(ended, 120, "the learner's end")
    assert (learner["State"]["ExitCode"], learner["RestartCount"]) == (0, 0), run.project.compose("logs", "learner")
    command = "cd /runs/cartpole && cat summary.json && ls -d checkpoints/* policy.keras"
    said = run.project.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "learner", "-c", command)
    summary, _, files = said.rpartition("}\n")
    assert json.loads(summary + "}")["solved"]
    assert "policy.keras" in files
    assert "checkpoints/" in files
    assert run.server()["ready"]


def test_nothing_is_left(run: Run) -> None:
    run.project.end()
    assert run.project.leftovers() == []
