"""A container engine for tests: what `docker compose` starts under a project name of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.support.command import ROOT


def require_engine() -> None:
    """Skip where there is no `docker compose` with a running engine; fail where REQUIRE_ENGINE=1 says there is."""
    for command in (("docker", "info"), ("docker", "compose", "version")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            problem = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            reason = f"no container engine: `{' '.join(command)}` says {problem}"
            if os.environ.get("REQUIRE_ENGINE") == "1":
                pytest.fail(reason)
            pytest.skip(reason)


def docker(*arguments: str, environment: dict[str, str] | None = None, timeout_s: float = 60) -> str:
    """What `docker ARGUMENTS` prints. Raises `AssertionError` with its words where it fails."""
    done = _run(*arguments, environment=environment, timeout_s=timeout_s)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def _run(
    *arguments: str, environment: dict[str, str] | None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("docker", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


class Project:
    """Services under a project name of their own, with nothing of Corral's in their environment but what is given.

    Attributes:
      name: the project's.
      environment: what compose runs with.
    """

    def __init__(self, name: str, **environment: str) -> None:
        self.name = name
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CORRAL_")}
        self.environment = clean | {"COMPOSE_PROJECT_NAME": name, "COMPOSE_PROFILES": "cpu"} | environment

    def compose(self, *arguments: str, timeout_s: float = 60) -> str:
        """What `docker compose ARGUMENTS` prints. Raises `AssertionError` where it fails."""
        return docker("compose", *arguments, environment=self.environment, timeout_s=timeout_s)

    def start(self, *arguments: str) -> None:
        """`up`, until everything is healthy."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", "240", *arguments, timeout_s=270)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """The service's containers, ended ones too, by their number: what `docker inspect` says of each."""
        names = self.compose("ps", "--all", "--quiet", service).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *names)) if names else []
        return sorted(found, key=lambda each: int(each["Config"]["Labels"]["com.docker.compose.container-number"]))

    def crash(self, service: str) -> None:
        """Kill the program in the first container of `service` where it stands, as the kernel does it."""
        # Not `docker kill`: the engine takes that for the user's wish and does not start the container again.
        # Nor the container's first process, which nobody inside can kill: it ends as soon as the program has.
        self.compose("exec", "-T", service, "sh", "-c", "kill -9 -1")

    def figures(self, service: str, port: int, *options: str) -> dict[str, Any]:
        """What `corral status` says in the container of `service`; nothing where it does not answer."""
        ask = ("corral", "status", f"tcp://127.0.0.1:{port}", "--json", *options)
        command = ("compose", "exec", "-T", service, *ask)
        said = _run(*command, environment=self.environment).stdout  # with figures, it fails where it is not ready
        figures: dict[str, Any] = json.loads(said or "{}")
        return figures

    def leftovers(self) -> list[str]:
        """What of the project is still there."""
        mine = f"label=com.docker.compose.project={self.name}"
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [line for kind in kinds for line in docker(*kind, "--quiet", "--filter", mine).split()]

    def end(self) -> None:
        """Remove everything that the project made, its volumes included."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10", timeout_s=100)


def is_well(container: dict[str, Any]) -> bool:
    """Whether a container runs and its health check says so."""
    state = container["State"]
    return bool(state["Running"] and state["Health"]["Status"] == "healthy")
