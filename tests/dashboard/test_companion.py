"""The page beside a run: it is told of, and the run goes on without it."""

from __future__ import annotations

import stat
from pathlib import Path

import psutil

from actor_client.settings import EnvironmentSettings
from corral.dashboard.companion import DashboardCompanion
from corral.launch.experiment import Experiment
from corral.launch.folder import begin
from tests.support.processes import until


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def test_a_page_that_dies_is_told_of_and_ends_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    begin(folder, Experiment(environment=EnvironmentSettings("CartPole-v1")), ["ipc:///nobody"], "ipc:///nobody")
    notes: list[str] = []
    before = children()
    companion = DashboardCompanion()
    companion.begin(folder, {}, {}, notes.append)
    try:
        until(lambda: companion.look() or notes, 30, "the address")
        assert notes[0].startswith("dashboard: http://127.0.0.1:")
        assert companion._place is not None
        assert stat.S_IMODE(Path(companion._place.name).stat().st_mode) == 0o700
        place = Path(companion._place.name)
        (child,) = children() - before
        child.kill()
        until(lambda: companion.look() or len(notes) > 1, 10, "its end")
        assert "the dashboard ended (killed by SIGKILL), the run goes on" in notes[1]
        assert companion.look() is False
        assert companion.goal() is None
    finally:
        companion.end()
    assert len(notes) == 2
    assert not place.exists()


def test_a_page_ends_with_its_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    begin(folder, Experiment(environment=EnvironmentSettings("CartPole-v1")), ["ipc:///nobody"])
    notes: list[str] = []
    before = children()
    companion = DashboardCompanion()
    companion.begin(folder, {}, {}, notes.append)
    until(lambda: companion.look() or notes, 30, "the address")
    companion.end()
    companion.end()
    assert children() - before == set()
    assert "Traceback" not in (folder / "logs" / "dashboard.log").read_text()
