"""docs/environments.md: every id in its tables, every block of it, and the versions that it names."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actor_client.environments import make_group
from actor_client.settings import EnvironmentSettings
from tests.support.command import ROOT

PAGE = (ROOT / "docs" / "environments.md").read_text()
TABLE = PAGE.partition("| interface | `environment.id`")[2].partition("\n\n")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]
IDS = sorted({row[1].strip("`") for row in ROWS} - {"their_package:Theirs-v0"})
TABLES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
NEEDED: dict[str, dict[str, Any]] = {"actor_client.atari:make": {"id": "ALE/Pong-v5"}}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's functions, in files by the names that it gives them."""
    monkeypatch.syspath_prepend(tmp_path)
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in blocks] == ["my_module.py", "my_game.py"]
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    (tmp_path / "my_module.py").write_text(blocks[0][1] + blocks[1][1])  # the table has both in one


def steps(settings: EnvironmentSettings) -> None:
    group = make_group(settings, 2)
    rows = group.reset([1, 2])
    for _ in range(3):
        low = np.nan_to_num(group.action.bounds[0])
        action = np.broadcast_to(low, (len(rows.environment), *group.action.shape)).astype(group.action.dtype)
        if (masks := rows.observation.get("action_mask")) is not None:
            action = masks.argmax(axis=-1)
        rows = group.step(rows.environment, action)
    assert len(rows.environment) > 0
    group.close()


@pytest.mark.parametrize("identifier", IDS)
def test_every_id_of_the_table_can_be_stepped(identifier: str) -> None:
    if identifier.startswith("dm_control/") and sys.version_info >= (3, 13):
        pytest.skip("dm_control needs labmaze, which has no wheel for Python 3.13")
    steps(EnvironmentSettings(identifier, NEEDED.get(identifier, {})))


def test_the_tables_are_found() -> None:
    assert len(ROWS) == 12
    assert [table["environment"]["id"] for table in TABLES] == [
        "actor_client.atari:make", "envpool:Pong-v5", "Taxi-v4", "my_module:make", "my_game:play",
    ]  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["environment"]["id"])
def test_every_experiment_can_be_stepped(table: dict[str, Any]) -> None:
    steps(EnvironmentSettings(**table["environment"]))


def test_versions_are_those_that_are_tested_with() -> None:
    pinned = dict(
        line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    named = [row[3].split() for row in ROWS if row[3]]
    assert len(named) == 9
    assert all(pinned[package] == version for package, version in named)


def test_extras_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for row in ROWS for extra in re.findall(r"corral\[([\w-]+)\]", row[2])}
    assert named == {"atari", "mujoco", "envpool", "dm-control", "players"}
    assert named <= extras.keys()
    assert all(extra in extras["dev"][0] for extra in named)
