"""`corral tune`: the whole command at its smallest, and its mistakes. What is measured is never looked at."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.test_command_line import CARTPOLE, corral_command, error
from tests.support.command import Workplace, workplace

pytestmark = pytest.mark.long

SMALLEST = ("--seconds", "0.3", "--rounds", "1", "--timeouts", "0,500")


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        (place.folder / "mine.toml").write_text(CARTPOLE.read_text())
        yield place


def without_batching(text: str) -> dict[str, Any]:
    """The tables of an experiment file but for what `--write` changes."""
    tables = tomllib.loads(text)
    assert tables["server"]["batching"].keys() == {"timeout_us", "max_size"}
    del tables["server"]["batching"]
    return tables


def test_it_measures_recommends_and_writes(place: Workplace) -> None:
    override = ("--set", "server.batching.max_size=64")
    done = place.corral("tune", "mine.toml", *SMALLEST, *override, "--write", "--json", "--plot", "tune.png")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(each["max_size"], each["timeout_us"]) for each in told["found"]] == [
        (48, 0),
        (48, 500),
        (64, 0),
        (64, 500),
    ]
    assert all(each["rows_per_s"] == [each["median_rows_per_s"]] for each in told["found"])
    assert all(each["median_rows_per_s"] > 0 and 1 <= each["mean_batch"] <= 64 for each in told["found"])
    assert (told["load"]["clients"], told["load"]["rows"], told["errors"]) == (4, 12, {})
    assert told["load"]["think_us"] == pytest.approx(told["think"]["step_s"] * 1e6)
    chosen = told["recommendation"]
    assert any((each["max_size"], each["timeout_us"]) == _pair(chosen) for each in told["found"])
    assert chosen["reason"].startswith(f"timeout_us = {chosen['timeout_us']}: ")
    assert "measuring timeout 500 us, max_size 64, 3 of 4 done" in done.stderr
    after = (place.folder / "mine.toml").read_text()
    batching = tomllib.loads(after)["server"]["batching"]
    assert (told["written"], _pair(batching)) == (True, _pair(chosen))
    assert without_batching(after) == without_batching(CARTPOLE.read_text())
    changed = [old for old, new in _lines(CARTPOLE.read_text(), after) if old != new]
    assert all(line.startswith(("timeout_us", "max_size")) for line in changed)
    assert (place.folder / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert place.leftovers() == []


def _pair(table: dict[str, Any]) -> tuple[int, int]:
    return table["max_size"], table["timeout_us"]


def _lines(before: str, after: str) -> Iterator[tuple[str, str]]:
    return zip(before.splitlines(), after.splitlines(), strict=True)


def test_busy_clients_and_a_table(place: Workplace) -> None:
    done = place.corral("tune", "mine.toml", *SMALLEST, "--busy")
    assert done.returncode == 0, done.stderr
    assert "4 clients compute for so long between two requests, in 4 processes" in done.stdout
    assert "timeout us  max size  rows/s  of best  mean batch  p50 ms  p99 ms" in done.stdout
    assert "recommended" in done.stdout
    assert "500 us █" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("timeout_us = ")
    assert (place.folder / "mine.toml").read_text() == CARTPOLE.read_text()


def test_mistakes_are_told_before_anything_is_measured(place: Workplace) -> None:
    assert error(place.corral("tune", "nowhere.toml")).startswith("nowhere.toml: no such experiment file")
    assert error(place.corral("tune", "mine.toml", "--timeouts", "0,soon")) == (
        "--timeouts 0,soon: must be whole microseconds, such as 0,200,500"
    )
    assert "--timeouts -1: timeout_us must be 0 to" in error(place.corral("tune", "mine.toml", "--timeouts", "-1"))
    assert "picture's name ends in .pdf, .png, .svg" in error(place.corral("tune", "mine.toml", "--plot", "a.doc"))
    text = error(place.corral("tune", "mine.toml", "--plot", "nowhere/tune.png"))
    assert text == "--plot nowhere/tune.png: there is no folder nowhere"
    (place.folder / "run.json").write_text('{"environment": {"id": "CartPole-v1"}}')
    assert "run.json is no TOML file" in error(place.corral("tune", "run.json", "--write"))


def test_an_environment_that_cannot_be_made_or_stepped_is_told(place: Workplace) -> None:
    assert "'CartPool-v1' cannot be made" in failure(place, "CartPool-v1")
    (place.folder / "broken.py").write_text(
        "import gymnasium\n"
        "class Broken(gymnasium.Wrapper):\n"
        "    def step(self, action):\n"
        "        raise RuntimeError('a wheel came off')\n"
        "def make():\n"
        "    return Broken(gymnasium.make('CartPole-v1'))\n"
    )
    assert "a wheel came off" in failure(place, "broken:make")


def failure(place: Workplace, environment: str) -> str:
    """The error that ends a measurement of another environment."""
    done = place.corral("tune", "mine.toml", "--set", f"environment.id={environment}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1].removeprefix("error: ")


def test_help() -> None:
    done = corral_command("tune", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--timeouts", "--rounds", "--busy", "--write", "--plot"))
