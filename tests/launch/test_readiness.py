from __future__ import annotations

from pathlib import Path

import pytest

from corral.launch.readiness import ready_mark


def test_the_file_is_there_while_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    file.touch()  # of a process that was killed
    mark = ready_mark(file)
    assert not file.exists()
    for ready in (True, True, False, False, True):
        mark(ready)
        assert file.exists() == ready


def test_no_file_is_wanted() -> None:
    ready_mark(None)(True)


def test_a_place_that_cannot_be_written_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="ready"):
        ready_mark(tmp_path / "nowhere" / "ready")(True)
