"""`corral chaos` for real, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.command import Workplace, workplace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


def test_what_cannot_be_done_is_told(place: Workplace) -> None:
    done = place.corral("chaos", "examples/cartpole.toml", "--kinds", "kill,tickle")
    assert done.returncode == 2
    assert "'tickle' is none of kill, freeze, kill-actor" in done.stderr
    assert place.leftovers() == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_goes_on_whatever_is_killed(place: Workplace) -> None:
    done = place.corral(
        "chaos", "examples/cartpole.toml", "--kills", "12", "--minutes", "10", "--interval-s", "2", "--seed", "5",
        "--set", "learner.checkpoint_every_s=1", "--json", "report.json", timeout_s=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((place.folder / "report.json").read_text())
    assert report["holds"]
    assert sum(report["injuries"].values()) == 12
    assert sum(times["times"] for times in report["recovery_s"].values()) == 12
    assert set(report["invariants"].values()) == {"holds"}
    assert report["looks"] > 20
    steps = report["steps"]
    parts = ("accepted", "dropped", "lost_with_learner", "lost_with_server", "unfinished")
    assert steps["completed"] == sum(steps[name] for name in parts) > 1000
    assert report["solved_s"] is not None
    assert done.stdout.splitlines()[-1].startswith("everything holds: 12 injuries, 12 recoveries, solved after ")
    assert place.leftovers() == []
