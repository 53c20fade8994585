from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from corral.launch.experiment import load_experiment
from corral.launch.lifeline import sweep
from corral.launch.sockets import UNROLLS, local_addresses, make_socket_folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Sets TMPDIR to a folder of this length."""

    def temporary(length: int) -> Path:
        folder = tmp_path
        while len(str(folder)) < length:
            folder = folder / ("x" * min(100, max(1, length - len(str(folder)) - 1)))
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        return folder

    return temporary


def test_the_folder_lies_in_tmpdir_and_is_private(temporary) -> None:
    parent = temporary(0)
    folder = make_socket_folder()
    assert folder.parent == parent
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_path_too_long_for_sockets_is_left_for_a_shorter_one(temporary) -> None:
    parent = temporary(150)
    folder = make_socket_folder()
    try:
        assert parent not in folder.parents
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(folder / UNROLLS))
    finally:
        sweep(folder, [UNROLLS])
    assert not folder.exists()


def test_every_address_is_inside(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('environment.id = "CartPole-v1"')
    local = local_addresses(load_experiment(tmp_path / "x.toml", environ={}), Path("/s"))
    assert local.server.address == "ipc:///s/actors"
    assert local.learner.unrolls_address == "ipc:///s/unrolls"
    assert local.learner.weights_address == "ipc:///s/weights"


def test_the_last_to_leave_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    for name in ("actors", "unrolls"):
        (folder / name).touch()
    sweep(folder, ["unrolls"])
    assert [path.name for path in folder.iterdir()] == ["actors"]
    sweep(folder, ["actors"])
    sweep(folder, ["actors"])
    assert not folder.exists()
