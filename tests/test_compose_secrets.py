"""The services with keys that were made elsewhere: given as secrets, beside every limit that there is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.protocol.keys import Role, make_pair
from tests.support.command import ROOT
from tests.support.engine import Project, docker, is_well, require_engine
from tests.support.ports import free_ports
from tests.support.processes import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SERVICES = ("inference-server", "learner", "actor")
MIB = 2**20
MOST_MB = {"corral-actor": 250, "corral-server": 2_000}
"""Megabytes of each image beyond its base, at most."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys that belong to the user of the containers."""
    folder = tmp_path_factory.mktemp("secrets") / "keys"
    for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "actor"), (Role.OPERATOR, "operator")):
        make_pair(folder, role, name)
    return folder


@pytest.fixture(scope="module")
def project(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    require_engine()
    settings = tmp_path_factory.mktemp("compose") / "corral.env"
    settings.write_text("CORRAL_RUN__TARGET_RETURN=195\n")
    files = os.environ.get("COMPOSE_FILE", "docker-compose.yml")
    (port,) = free_ports(1)
    project = Project(
        f"corral-secrets-{os.getpid()}",
        COMPOSE_FILE=f"{files}:docker-compose.secrets.yml",
        CORRAL_KEYS=str(keys),
        CORRAL_PORT=str(port),
        CORRAL_SETTINGS=str(settings),
        CORRAL_SERVER_CPUS="1",
        CORRAL_ACTOR_CPUS="0.5",
    )
    try:
        project.compose("build", timeout_s=1200)
        # As the file says, by somebody who may: root, or the engine.
        owner = ["run", "--rm", "--user=0", "--entrypoint=chown", f"--volume={keys}:/keys", "corral-actor"]
        docker(*owner, "--recursive", "10001", "/keys")
        yield project
    finally:
        print(project.compose("logs", "--no-color", "--tail", "50"))
        project.end()


@pytest.mark.timeout(1500)  # where the images are not built yet
def test_cartpole_is_solved(project: Project) -> None:
    project.compose("up", "--detach", timeout_s=150)

    def ended() -> dict[str, Any] | None:
        (learner,) = project.containers("learner")
        return learner if learner["State"]["Status"] == "exited" else None

    learner = until(ended, 420, "the learner's end")
    assert (learner["State"]["ExitCode"], learner["RestartCount"]) == (0, 0), project.compose("logs", "learner")
    until(lambda: is_well(project.containers("inference-server")[0]), 30, "a server that is well")


def test_each_container_holds_its_own_secrets_alone(project: Project) -> None:
    def held(service: str) -> dict[str, str]:
        command = ("exec", "-T", service, "find", "/keys", "-name", "*_secret", "-printf", "%P %u %m\n")
        return dict(line.split(" ", 1) for line in project.compose(*command).splitlines())

    assert held("actor") == {"actors/actor.key_secret": "corral 600"}
    assert held("inference-server") == {
        "server.key_secret": "corral 600",
        "operators/operator.key_secret": "corral 600",
    }


def test_what_a_container_may_do(project: Project) -> None:
    for service, memory, pids, processors in (
        ("inference-server", 4096, 2048, 1.0),
        ("learner", 4096, 2048, 0.0),
        ("actor", 512, 128, 0.5),
    ):
        for each in project.containers(service):
            host = each["HostConfig"]
            assert (host["Memory"], host["PidsLimit"]) == (memory * MIB, pids)
            assert host["NanoCpus"] == processors * 1e9
            assert host["ReadonlyRootfs"]
            assert host["CapDrop"] == ["ALL"]
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert not host["Privileged"]
            assert each["Config"]["User"] == "corral"


@pytest.mark.parametrize("image", MOST_MB)
def test_the_sizes_of_the_images(project: Project, image: str) -> None:
    lines = docker("history", "--human=false", "--no-trunc", "--format", "{{.Size}} {{.CreatedBy}}", image)
    layers = [line.split(" ", 1) for line in lines.splitlines()]
    (first,) = [number for number, (_, command) in enumerate(layers) if "groupadd" in command]
    ours = sum(int(size) for size, _ in layers[: first + 1]) / 1e6  # the newest comes first
    print(f"{image}: {ours:.0f} MB")
    assert 50 < ours < MOST_MB[image]
    page = (ROOT / "docs" / "docker.md").read_text()
    assert f"| `{image}` |" in page


def test_a_secret_that_others_can_read_is_refused(project: Project, keys: Path) -> None:
    secret = keys / "actors" / "actor.key_secret"
    secret.chmod(0o644)
    try:
        with pytest.raises(AssertionError, match="can be read by others"):
            project.compose("run", "--rm", "-T", "--no-deps", "actor", "actor", "examples/cartpole.toml")
    finally:
        secret.chmod(0o600)


def test_nothing_is_left(project: Project) -> None:
    project.end()
    assert project.leftovers() == []
    assert json.loads(project.compose("ps", "--format", "json") or "[]") == []
