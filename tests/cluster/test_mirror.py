from __future__ import annotations

import mmap
from pathlib import Path

from corral.cluster.mirror import Mirror


def test_what_is_there_at_first_counts_as_seen(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    mirror = Mirror(tmp_path, ["*"])
    assert list(mirror.news()) == []
    (tmp_path / "new").write_bytes(b"2")
    assert list(mirror.news()) == [("new", b"2")]
    assert list(mirror.news()) == []


def test_a_file_that_changes_in_place_is_news_each_time(tmp_path: Path) -> None:
    path = tmp_path / "ledgers" / "a"
    path.parent.mkdir()
    path.write_bytes(bytes(8))
    mirror = Mirror(tmp_path, ["ledgers/*"])
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counts:
        counts[0] = 7  # no new date
        assert list(mirror.news()) == [("ledgers/a", b"\x07" + bytes(7))]


def test_a_large_file_is_told_by_its_date_and_size(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, ["*.npz"])
    (tmp_path / "a.npz").write_bytes(bytes(100_000))
    assert [(name, len(content or b"")) for name, content in mirror.news()] == [("a.npz", 100_000)]
    assert list(mirror.news()) == []
    (tmp_path / "a.npz").write_bytes(bytes(100_001))
    assert [name for name, _ in mirror.news()] == ["a.npz"]


def test_a_file_that_has_gone_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    mirror = Mirror(tmp_path, ["a"])
    (tmp_path / "a").unlink()
    assert list(mirror.news()) == [("a", None)]
    assert list(mirror.news()) == []


def test_other_files_are_none_of_its_business(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, ["checkpoints/*.npz"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "a.partial").write_bytes(b"1")
    (tmp_path / "b.npz").write_bytes(b"1")
    assert list(mirror.news()) == []
