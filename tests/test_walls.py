"""The walls of the house: a room imports only from the floors below it (docs/design.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from corral.agents.backend import SUPPORTED

ROOT = Path(__file__).parents[1]

UNDER_THE_ROOF = {
    "corral.protocol",
    "corral.agents",
    "actor_client",
    "inference_server",
    "learner",
    "corral.telemetry",
}
MAY_IMPORT = {
    "corral.protocol": set(),
    "corral.telemetry": set(),
    "corral.agents": {"corral.protocol"},
    "actor_client": {"corral.protocol", "corral.telemetry"},
    "inference_server": {"corral.protocol", "corral.agents", "corral.telemetry"},
    "learner": {"corral.protocol", "corral.agents", "corral.telemetry"},
    "corral.launch": UNDER_THE_ROOF,
    "corral.bench": UNDER_THE_ROOF | {"corral.launch"},
    "corral.chaos": UNDER_THE_ROOF | {"corral.launch"},
    "corral.cluster": UNDER_THE_ROOF | {"corral.launch"},
    "corral.dashboard": UNDER_THE_ROOF | {"corral.launch"},
    "corral.cli": UNDER_THE_ROOF
    | {"corral.launch", "corral.bench", "corral.chaos", "corral.cluster", "corral.dashboard"},
}
HEAVY = {"tensorflow", "jax", "torch", "keras"}
LIGHT_ROOMS = ("corral.protocol", "actor_client")
THIN = {"numpy", "zmq", "msgpack"}


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room.replace(".", "/")).rglob("*.py"))


def imports_of(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively: name the room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(name: str) -> str | None:
    return next((room for room in MAY_IMPORT if name == room or name.startswith(room + ".")), None)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_from_below(room: str) -> None:
    assert files_of(room)
    for file in files_of(room):
        rooms = {room_of(name) for name in imports_of(file)} - {None, room}
        assert rooms <= MAY_IMPORT[room], f"{file} imports {rooms - MAY_IMPORT[room]}"


def test_every_package_is_a_room() -> None:
    packages = {file.parent for top in ("corral", *MAY_IMPORT) for file in files_of(top)} - {ROOT / "corral"}
    names = {".".join(package.relative_to(ROOT).parts) for package in packages}
    assert {room_of(name) for name in names} == set(MAY_IMPORT)
    assert all(room_of(name) for name in names)


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_the_light_rooms_know_no_framework(room: str) -> None:
    for file in files_of(room):
        assert not {name.split(".")[0] for name in imports_of(file)} & HEAVY, file


@pytest.mark.parametrize("framework", SUPPORTED)
def test_only_its_backend_knows_a_framework(framework: str) -> None:
    own = ROOT / "corral/agents/backend" / framework
    for room in MAY_IMPORT:
        for file in files_of(room):
            if framework in {name.split(".")[0] for name in imports_of(file)}:
                assert file.is_relative_to(own) or file == own.with_suffix(".py")


@pytest.mark.parametrize(
    "module",
    [
        "actor_client",
        "actor_client.policy_client",
        "actor_client.runner",
        "corral.agents.settings",
        "corral.bench.child",
        "corral.bench.sweep",
        "corral.cli",
        "corral.dashboard.companion",
        "corral.dashboard.watch",
        "corral.launch.experiment",
        "corral.protocol",
        "inference_server.settings",
        "learner.settings",
    ],
)
def test_nothing_heavy_is_loaded_by(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {sorted(HEAVY | {'gymnasium'})} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == "[]"
