"""The folder of a run: made, begun, resumed, and one run's at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import corral
from actor_client.settings import EnvironmentSettings
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import (
    begin,
    check_resumable,
    experiment_file,
    hold,
    life,
    make_run_folder,
    read_json,
    server_addresses,
)
from corral.launch.provenance import git_commit, versions
from corral.launch.seeds import seed_of_life
from corral.launch.settings import RunSettings
from corral.launch.whereabouts import find_server, find_servers


def experiment(folder: Path) -> Experiment:
    return Experiment(
        run=RunSettings(name="pole", seed=7, folder=str(folder)), environment=EnvironmentSettings("CartPole-v1")
    )


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    first, second = (make_run_folder(experiment(tmp_path)) for _ in range(2))
    assert first != second
    assert first.name.startswith("pole-")


def test_every_start_is_written_down(tmp_path: Path) -> None:
    begin(tmp_path, experiment(tmp_path), ["ipc:///first"])
    (tmp_path / "result.json").write_text("{}")
    assert life(tmp_path) == 0
    begin(tmp_path, experiment(tmp_path), ["ipc:///second"])
    assert life(tmp_path) == 1
    assert server_addresses(tmp_path) == ("ipc:///second",)
    assert not (tmp_path / "result.json").exists()  # the last life's result is none of this one's
    assert (tmp_path / "logs").is_dir()
    assert Experiment.read(experiment_file(tmp_path)) == experiment(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["seed"] == 7
    assert [start["server_addresses"] for start in run["starts"]] == [["ipc:///first"], ["ipc:///second"]]
    assert run["starts"][0]["versions"]["corral"] == corral.__version__


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    code = "import sys, pathlib; from corral.launch.folder import hold; hold(pathlib.Path(sys.argv[1]))"
    another = [sys.executable, "-c", code, str(tmp_path)]
    with hold(tmp_path):
        with pytest.raises(UserError, match="is in use: a run goes on there"):
            hold(tmp_path)
        assert subprocess.run(another, capture_output=True, timeout=60).returncode != 0
    assert subprocess.run(another, capture_output=True, timeout=60).returncode == 0


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run's folder: it has no experiment\.json"):
        experiment_file(tmp_path)
    with pytest.raises(UserError, match=r"is no run's folder: it has no run\.json"):
        server_addresses(tmp_path)
    (tmp_path / "list.json").write_text("[]")
    assert read_json(tmp_path / "list.json") == {}
    assert read_json(tmp_path / "none.json") == {}


def test_where_a_server_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_server("tcp://10.0.0.1:7") == "tcp://10.0.0.1:7"
    assert find_server("ipc:///tmp/x") == "ipc:///tmp/x"
    assert find_server("10.0.0.1:7") == "tcp://10.0.0.1:7"
    assert find_server("gpu-3") == "tcp://gpu-3:5555"
    assert find_servers("gpu-3, 10.0.0.1:7") == ("tcp://gpu-3:5555", "tcp://10.0.0.1:7")
    begin(tmp_path / "run", experiment(tmp_path), ["ipc:///there", "ipc:///here"])
    with hold(tmp_path / "run"):
        assert find_server("run") == "ipc:///there"
        assert find_server("./run") == "ipc:///there"
        assert find_servers("run") == ("ipc:///there", "ipc:///here")
    with pytest.raises(UserError, match="no run goes on in run: it has ended"):
        find_server("run")
    with pytest.raises(UserError, match="no such folder, and no address"):
        find_server("runs/none")


def test_a_run_without_a_checkpoint_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoint to go on from"):
        check_resumable(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint-1-1.npz").touch()
    check_resumable(tmp_path)


def test_the_first_life_has_the_seed_and_later_ones_their_own() -> None:
    assert seed_of_life(7, 0) == 7
    later = {seed_of_life(7, n) for n in range(1, 50)} | {seed_of_life(8, n) for n in range(1, 50)}
    assert len(later) == 98
    assert all(0 <= seed < 2**32 for seed in later)


def test_the_state_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("1")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert git_commit() == commit
    (tmp_path / "file").write_text("2")
    assert git_commit() == f"{commit}-changed"
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None
    assert versions().keys() >= {"python", "system", "corral", "numpy", "pyzmq", "msgpack"}
