"""The learning curve as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corral.launch.curve import _points, draw_curve
from corral.launch.settings import RunSettings


def write(folder: Path, returns: list[float]) -> None:
    lines = [json.dumps({"env_steps": 10 * n, "mean_return": value}) for n, value in enumerate(returns)]
    (folder / "metrics.jsonl").write_text("\n".join(['{"env_steps": 0}', *lines]) + "\n")


@pytest.mark.parametrize("target", [None, 475.0])
def test_it_is_drawn_from_the_metrics(tmp_path: Path, target: float | None) -> None:
    from matplotlib.image import imread

    write(tmp_path, [10.0, 100.0, 470.0])
    path = draw_curve(tmp_path, RunSettings(target_return=target))
    assert path == tmp_path / "curve.png"
    picture = imread(path)
    assert picture.shape[:2] == (540, 960)
    assert len({tuple(pixel) for pixel in picture.reshape(-1, picture.shape[2])[::7]}) > 10  # not an empty sheet


def test_a_run_without_an_episode_has_none(tmp_path: Path) -> None:
    assert draw_curve(tmp_path, RunSettings()) is None
    write(tmp_path, [])
    assert draw_curve(tmp_path, RunSettings()) is None
    assert not (tmp_path / "curve.png").exists()


def test_what_was_done_behind_the_checkpoint_is_left_out(tmp_path: Path) -> None:
    steps = [10, 20, 30, 40, 25, 35]  # the run went on from 20
    lines = [json.dumps({"env_steps": step, "mean_return": float(step)}) for step in steps]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert [step for step, _ in _points(tmp_path)] == [10, 20, 25, 35]
