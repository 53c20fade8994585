"""What a person names, and what is watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from actor_client.settings import EnvironmentSettings
from corral.dashboard.sources import MOST, find_sources
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import begin, hold


def run_in(folder: Path, *, source: Path | None = None, learner: str = "ipc:///there/unrolls") -> Path:
    folder.mkdir(parents=True)
    experiment = Experiment(environment=EnvironmentSettings("CartPole-v1"))
    begin(folder, experiment, ["ipc:///there/actors"], learner, source)
    return folder


def test_a_run_names_both_its_sides_and_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.touch()
    folder = run_in(tmp_path / "runs" / "one", source=file)
    with hold(folder):
        (source,) = find_sources([str(folder)])
    assert source.name == "one"
    assert source.addresses == {"server": "ipc:///there/actors", "learner": "ipc:///there/unrolls"}
    assert source.folder == folder
    assert source.file == file


def test_a_resumed_run_keeps_the_file_that_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.touch()
    folder = run_in(tmp_path / "one", source=file)
    begin(folder, Experiment(environment=EnvironmentSettings("CartPole-v1")), ["ipc:///new"], "ipc:///newer")
    with hold(folder):
        (source,) = find_sources([str(folder)])
        assert source.file == file
        assert source.addresses["learner"] == "ipc:///newer"
        file.unlink()
        assert find_sources([str(folder)], file=tmp_path / "other.toml")[0].file == tmp_path / "other.toml"


def test_a_learner_that_listens_everywhere_is_asked_here(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "one", learner="tcp://*:5556")
    with hold(folder):
        (source,) = find_sources([str(folder)])
    assert source.addresses["learner"] == "tcp://127.0.0.1:5556"


def test_nothing_named_takes_the_newest_run_that_goes_on(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = [run_in(runs / name) for name in ("first", "second", "ended")]
    with hold(folders[0]), hold(folders[1]):
        (source,) = find_sources([], runs=runs)
        assert source.name == "second"
    with pytest.raises(UserError, match="no run goes on in"):
        find_sources([], runs=runs)
    with pytest.raises(UserError, match="it has ended"):
        find_sources([str(folders[2])])


def test_servers_are_named_as_for_status_and_share_a_learner(tmp_path: Path) -> None:
    sources = find_sources(["trainer", "tcp://other:7777", "trainer"], learner="tcp://trainer:5556")
    assert [source.addresses for source in sources] == [
        {"server": "tcp://trainer:5555", "learner": "tcp://trainer:5556"},
        {"server": "tcp://other:7777", "learner": "tcp://trainer:5556"},
    ]
    with pytest.raises(UserError, match="too many for one page"):
        find_sources([f"host{number}" for number in range(MOST + 1)])
