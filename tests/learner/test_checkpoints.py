from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
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


def test_a_checkpoint_that_was_cut_off_anywhere_is_passed_over(tmp_path: Path) -> None:
    before = save(tmp_path, make(1), keep=2)
    newest = save(tmp_path, make(2), keep=2)
    whole = newest.read_bytes()
    for length in range(len(whole)):
        newest.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="its checksum does not match"):
            load(newest)
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0] == before
    newest.write_bytes(whole)
    assert load_newest(tmp_path)[0] == newest  # type: ignore[index]


def test_a_byte_that_changed_anywhere_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, make(1), keep=1)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="its checksum does not match"):
            load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="its checksum does not match"):
        load(path)


def test_weights_that_are_no_numbers_are_not_gone_on_from(tmp_path: Path) -> None:
    good = save(tmp_path, make(1), keep=9)
    for version, value in ((2, np.nan), (3, np.inf)):
        state = {"nets/policy/dense/kernel": np.array([1, value], np.float32), "replay/reward": np.zeros(2)}
        path = save(tmp_path, Checkpoint(state, {"policy_version": version}), keep=9)
        with pytest.raises(CheckpointError, match=r"cannot be gone on from: 1 of 2 values of 'nets/.*not finite"):
            load(path)
    found = load_newest(tmp_path)
    assert found is not None
    assert found[0] == good
    # What was observed may be no number: the server that let it through was told to.
    observed = Checkpoint({"replay/observation": np.full(2, np.nan)}, {"policy_version": 4})
    assert np.isnan(load(save(tmp_path, observed, keep=9)).state["replay/observation"]).all()


SAVING = """
import sys
from pathlib import Path
import numpy as np
from learner.checkpoints import Checkpoint, save
folder, first = Path(sys.argv[1]), int(sys.argv[2])
for version in range(first, first + 100_000):
    state = {"w": np.full(200_000, version, np.float32)}
    save(folder, Checkpoint(state, {"policy_version": version}), keep=2)
    print(version, flush=True)
"""


def test_whenever_it_is_killed_the_newest_is_whole(tmp_path: Path) -> None:
    version = 0
    for turn in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SAVING, str(tmp_path), str(version + 1)], stdout=subprocess.PIPE, text=True
        ) as saving:
            assert saving.stdout is not None
            for _ in range(3 + turn):
                version = int(saving.stdout.readline())
            saving.kill()
        found = load_newest(tmp_path)
        assert found is not None
        loaded = int(found[1].progress["policy_version"])
        assert loaded >= version  # what was said to be written is there, and perhaps one more
        assert (found[1].state["w"] == loaded).all()
        version = loaded
    assert len(list(tmp_path.glob("*.npz"))) <= 3
