from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learner.returns_file import LATEST, RETURNS_FILE, ReturnsFile, read_returns


def test_the_latest_are_kept_in_order(tmp_path: Path) -> None:
    file = ReturnsFile(tmp_path, 0)
    assert read_returns(tmp_path) is None
    file.add([1.0, 2.0], 2)
    file.write()
    file.add([3.0], 3)
    file.write()
    told = read_returns(tmp_path)
    assert told is not None
    assert told.episodes == 3
    assert told.latest.tolist() == [1.0, 2.0, 3.0]


def test_it_is_bounded(tmp_path: Path) -> None:
    file = ReturnsFile(tmp_path, 0)
    file.add(map(float, range(5 * LATEST)), 5 * LATEST)
    file.write()
    told = read_returns(tmp_path)
    assert told is not None
    assert told.episodes == 5 * LATEST
    assert told.latest.tolist() == list(range(4 * LATEST, 5 * LATEST))
    assert (tmp_path / RETURNS_FILE).stat().st_size < 10_000


def test_what_does_not_count_is_left_out(tmp_path: Path) -> None:
    file = ReturnsFile(tmp_path, 100)  # of an earlier life
    file.add([7.0, 8.0, 9.0], 102)  # it was solved by the second
    file.write()
    told = read_returns(tmp_path)
    assert told is not None
    assert told.episodes == 102
    assert told.latest.tolist() == [7.0, 8.0]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    ReturnsFile(tmp_path, 5).write()
    assert not list(tmp_path.iterdir())


def test_half_a_file_is_none(tmp_path: Path) -> None:
    file = ReturnsFile(tmp_path, 0)
    file.add([1.0], 1)
    file.write()
    whole = (tmp_path / RETURNS_FILE).read_bytes()
    (tmp_path / RETURNS_FILE).write_bytes(whole[:-8] + np.float64(2).tobytes())  # one end of another count
    assert read_returns(tmp_path) is None
    (tmp_path / RETURNS_FILE).write_bytes(whole[:100])
    assert read_returns(tmp_path) is None


def test_a_folder_that_cannot_be_written_costs_the_file_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    file = ReturnsFile(tmp_path / "file", 0)
    for count in range(1, 4):
        file.add([1.0], count)
        file.write()
    assert len(caplog.records) == 1
