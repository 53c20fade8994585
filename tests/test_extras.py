"""Each extra alone, from the wheel, in a clean virtual environment: what it promises works, and what it lacks is
said with the command that brings it. An extra that is not in the table below fails."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clean_venv import ROOT, CleanVenv, build_wheel

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DEVELOPMENT = {"test", "docs", "dev"}
"""Extras for working on Corral: `make install` is their test."""
CARTPOLE = str(ROOT / "examples" / "cartpole.toml")
SHORT_RUN = (
    "run", CARTPOLE, "--set", "run.max_env_steps=2000", "--set", "run.folder=runs", "--set", "actor.processes=1",
)  # fmt: skip
NOT_SOLVED = 1
PONG = ("actor_client.atari:make", "--kwargs", "id=ALE/Pong-v5")


@dataclass(frozen=True)
class Promise:
    """What an extra brings, and what it does not.

    Attributes:
      imports: modules of others that are there.
      works: `corral` commands with their exit codes.
      lacks: `corral` commands, and the extra that each asks for.
      environment: what all of them run with.
    """

    imports: tuple[str, ...]
    works: tuple[tuple[tuple[str, ...], int], ...]
    lacks: tuple[tuple[tuple[str, ...], str], ...]
    environment: tuple[tuple[str, str], ...] = ()


# What every extra brings, for each brings [actor].
BASICS = ((("--help",), 0), (("config", CARTPOLE), 0), (("init", "CartPole-v1"), 0), (("keys", "new", "keys"), 0))
WITHOUT_KERAS = tuple(
    ((*command,), "server")
    for command in (
        ("run", CARTPOLE), ("server", CARTPOLE), ("learner", CARTPOLE), ("serve", str(ROOT / "README.md")),
        ("bench",), ("tune", CARTPOLE), ("chaos", CARTPOLE),
    )
)  # fmt: skip
WITHOUT_DASHBOARD = ((("dashboard", "127.0.0.1"), "dashboard"),)
WITHOUT_RAY = ((("scale", "nobody", "--actors", "1"), "ray"),)
WITHOUT_GAMES = (
    (("init", *PONG), "atari"), (("init", "HalfCheetah-v5"), "mujoco"), (("init", "envpool:Pong-v5"), "envpool"),
    (("init", "dm_control/cartpole-balance-v0"), "dm-control"),
)  # fmt: skip

PROMISES = {
    "actor": Promise(
        ("gymnasium", "typer", "pydantic"),
        (),
        (*WITHOUT_KERAS, *WITHOUT_DASHBOARD, *WITHOUT_RAY, *WITHOUT_GAMES),
    ),
    "server": Promise(
        ("tensorflow", "keras", "tensorboardX", "matplotlib", "psutil"),
        ((SHORT_RUN, NOT_SOLVED),),
        (*WITHOUT_DASHBOARD, *WITHOUT_RAY, *WITHOUT_GAMES, (("run", CARTPOLE, "--dashboard"), "dashboard")),
    ),
    "jax": Promise(
        ("jax", "keras", "tensorboardX", "matplotlib", "psutil"),
        ((SHORT_RUN, NOT_SOLVED),),
        (*WITHOUT_DASHBOARD, *WITHOUT_RAY, *WITHOUT_GAMES),
        (("KERAS_BACKEND", "jax"),),
    ),
    "torch": Promise(
        ("torch", "keras", "psutil"),
        ((("serve", "--help"), 0),),  # tests/test_torch.py has it serve
        (*WITHOUT_DASHBOARD, *WITHOUT_RAY, *WITHOUT_GAMES),
        (("KERAS_BACKEND", "torch"),),
    ),
    "dashboard": Promise(
        ("nicegui", "uvicorn"),
        ((("dashboard", "--help"), 0),),
        (*WITHOUT_KERAS, *WITHOUT_RAY, *WITHOUT_GAMES),
    ),
    "ray": Promise(
        ("ray", "tensorflow", "keras"),
        ((SHORT_RUN, NOT_SOLVED),),
        (*WITHOUT_DASHBOARD, *WITHOUT_GAMES),
    ),
    "atari": Promise(
        ("ale_py", "cv2"),
        ((("init", *PONG), 0),),
        (*WITHOUT_KERAS, *WITHOUT_DASHBOARD, (("init", "HalfCheetah-v5"), "mujoco")),
    ),
    "mujoco": Promise(
        ("mujoco",),
        ((("init", "HalfCheetah-v5"), 0),),
        (*WITHOUT_KERAS, *WITHOUT_DASHBOARD, (("init", *PONG), "atari")),
    ),
    "envpool": Promise(
        ("envpool",),
        ((("init", "envpool:CartPole-v1", "--output", "pool.toml"), 0),),
        (*WITHOUT_KERAS, *WITHOUT_GAMES[:2]),
    ),
    "dm-control": Promise(
        ("shimmy", "dm_env"),
        ((("init", "dm_control/cartpole-balance-v0"), 0),),
        (*WITHOUT_KERAS, *WITHOUT_DASHBOARD, (("init", *PONG), "atari")),
    ),
    "players": Promise(
        ("pettingzoo", "pygame"),
        (),
        (*WITHOUT_KERAS, *WITHOUT_DASHBOARD, *WITHOUT_GAMES),
    ),
    "all": Promise(
        ("tensorflow", "keras", "nicegui"),
        ((SHORT_RUN, NOT_SOLVED), (("dashboard", "--help"), 0)),
        (*WITHOUT_RAY, *WITHOUT_GAMES),
    ),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_every_extra_has_its_promise() -> None:
    assert PROMISES.keys() == EXTRAS.keys() - DEVELOPMENT


@pytest.mark.parametrize("extra", PROMISES)
def test_an_extra_alone_keeps_its_promise(tmp_path: Path, wheel: Path, extra: str) -> None:
    promise = PROMISES[extra]
    clean = CleanVenv(
        tmp_path / "venv", f"corral[{extra}] @ {wheel.as_uri()}", environment=dict(promise.environment)
    )
    for module in promise.imports:
        clean.python(f"import {module}")
    for arguments, code in (*BASICS, *promise.works):
        done = clean.run(str(clean.corral), *arguments, timeout_s=200)
        assert done.returncode == code, f"corral {' '.join(arguments)}: {done.stdout}{done.stderr}"
    for arguments, other in promise.lacks:
        done = clean.run(str(clean.corral), *arguments, timeout_s=100)
        told = f"corral {' '.join(arguments)}: {done.stdout}{done.stderr}"
        assert done.returncode == 2, told
        assert f'pip install "corral[{other}]"' in done.stderr, told
        assert "Traceback" not in done.stderr, told
    shutil.rmtree(tmp_path / "venv")  # gigabytes, which pytest would keep
