"""Two servers in containers: either is restarted while the other answers its actors, too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command import ROOT
from tests.support.engine import Project, require_engine
from tests.support.ports import free_ports
from tests.support.processes import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SERVERS = ("inference-server", "inference-server-2")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    require_engine()
    settings = tmp_path_factory.mktemp("compose") / "corral.env"
    settings.write_text("CORRAL_RUN__TARGET_RETURN=501\nCORRAL_RUN__MAX_ENV_STEPS=100_000_000\n")
    files = os.environ.get("COMPOSE_FILE", "docker-compose.yml")
    first, second = free_ports(2)
    project = Project(
        f"corral-two-{os.getpid()}",
        COMPOSE_FILE=f"{files}:docker-compose.two.yml",
        CORRAL_PORT=str(first),
        CORRAL_PORT_2=str(second),
        CORRAL_SETTINGS=str(settings),
    )
    try:
        project.compose("build", "keys", "inference-server", timeout_s=1200)  # the others take these images
        yield project
    finally:
        print(project.compose("logs", "--no-color", "--tail", "50"))
        project.end()


def actors(project: Project, server: str) -> Any:
    """How many sessions a server has; None where it does not answer."""
    return project.figures(server, 5555).get("actors")


@pytest.mark.timeout(1500)  # where the images are not built yet
def test_they_share_the_actors(project: Project) -> None:
    project.start()
    until(lambda: [actors(project, server) for server in SERVERS] == [2, 2], 180, "two actors each")


@pytest.mark.parametrize(("restarted", "other"), [SERVERS, SERVERS[::-1]])
def test_either_is_restarted_while_the_other_answers(project: Project, restarted: str, other: str) -> None:
    command = rf"^docker compose -f \S+ -f docker-compose.two.yml (up .*--wait .*--force-recreate {restarted})$"
    (found,) = re.findall(command, (ROOT / "docs" / "docker.md").read_text(), re.MULTILINE)
    project.compose(*found.replace("--wait ", "").split(), timeout_s=120)
    until(lambda: actors(project, other) == 4, 60, f"all actors with {other}")
    assert not project.figures(restarted, 5555).get("ready")  # the other one alone answers
    steps = project.figures(other, 5555)["env_steps"]
    until(lambda: project.figures(other, 5555)["env_steps"] > steps, 30, "a step")
    until(lambda: actors(project, restarted), 240, f"actors back with {restarted}")
    assert [each["RestartCount"] for each in project.containers("actor")] == [0] * 4


def test_nothing_is_left(project: Project) -> None:
    project.end()
    assert project.leftovers() == []
