from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from learner.checkpoints import Checkpoint, CheckpointError, load, load_newest, save


def make(version: int, **progress: int) -> Checkpoint:
    state = {"nets/policy/dense/kernel": np.full((2, 3), version, np.float32), "step": np.array(version)}
    return Checkpoint(state, {"policy_version": version, "env_steps": 10 * version} | progress)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "new" / "folder", make(3), keep=2)
    loaded = load(path)
    assert loaded.progress == {"policy_version": 3, "env_steps": 30}
    assert loaded.state.keys() == make(3).state.keys()
    for name, array in make(3).state.items():
        np.testing.assert_array_equal(loaded.state[name], array)
        assert loaded.state[name].dtype == array.dtype


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for version in (1, 2, 30, 4):
        save(tmp_path, make(version), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-0000000000000-0000000004.npz",
        "checkpoint-0000000000000-0000000030.npz",
    ]


def test_a_learner_that_begins_anew_in_a_folder_does_not_lose_its_checkpoints_to_the_old_ones(
    tmp_path: Path,
) -> None:
    for version in (98, 99):
        save(tmp_path, make(version, epoch=1_700_000_000_000), keep=2)
    later = save(tmp_path, make(1, epoch=1_700_000_060_000), keep=2)
    assert later.exists()
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0] == later
    assert len(list(tmp_path.iterdir())) == 2


def test_the_newest_that_is_whole_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load_newest(tmp_path) is None
    for version in (1, 2, 3, 4):
        save(tmp_path, make(version), keep=9)
    newest = tmp_path / "checkpoint-0000000000000-0000000004.npz"
    newest.write_bytes(newest.read_bytes()[:-10])  # torn
    damaged = tmp_path / "checkpoint-0000000000000-0000000003.npz"
    content = bytearray(damaged.read_bytes())
    content[200] ^= 1
    damaged.write_bytes(content)
    (tmp_path / "checkpoint-0000000000000-0000000009.partial").write_bytes(b"half")
    for path in (newest, damaged):
        with pytest.raises(CheckpointError, match=path.name):
            load(path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = load_newest(tmp_path)
    assert found is not None
    assert found[1].progress["policy_version"] == 2
    assert [path.name in record.message for path, record in zip((newest, damaged), caplog.records, strict=True)]


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    evil = Checkpoint({"x": np.array([{"a": 1}], object)}, {"policy_version": 1})
    path = save(tmp_path, evil, keep=1)
    with pytest.raises(CheckpointError, match=r"npz is no checkpoint: .*allow_pickle"):
        load(path)


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        save(tmp_path / "file" / "checkpoints", make(1), keep=1)


def test_a_full_disk_leaves_the_old_ones_and_no_half_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, make(1), keep=1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, make(2), keep=1)
    (left,) = tmp_path.iterdir()
    assert load(left).progress["policy_version"] == 1


def test_a_file_that_is_none_of_ours_is_told(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("line", b"hello\n"), ("noise", bytes(range(256)))):
        path = tmp_path / f"checkpoint-{name}.npz"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=path.name):
            load(path)
    with pytest.raises(CheckpointError, match=r"none of the 3 checkpoints in .* can be used"):
        load_newest(tmp_path)
