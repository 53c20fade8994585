"""What an evaluator writes, and how it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corral.launch.evaluations import Evaluations
from corral.launch.evaluator import NewestWeights
from corral.launch.folder import EVALUATIONS
from corral.protocol import TensorSpec

FIGURES = {"policy_version": 7, "mean_return": 1234.56, "standard_error": 12.345, "episodes": 10}


def test_news_is_told_once(tmp_path: Path) -> None:
    writer, reader = Evaluations(tmp_path), Evaluations(tmp_path)
    assert reader.news() == []
    writer.add(FIGURES)
    assert reader.news() == ["evaluation of policy 7: mean return 1,234.6 +- 12.3 (10 greedy episodes)"]
    assert reader.news() == []
    writer.add({**FIGURES, "policy_version": 8, "standard_error": None, "episodes": 1})
    assert reader.news() == ["evaluation of policy 8: mean return 1,234.6 (1 greedy episodes)"]


def test_what_an_earlier_life_found_is_no_news(tmp_path: Path) -> None:
    Evaluations(tmp_path).add(FIGURES)
    assert Evaluations(tmp_path).news() == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    reader = Evaluations(tmp_path)
    Evaluations(tmp_path).add(FIGURES)
    text = (tmp_path / EVALUATIONS).read_text()
    (tmp_path / EVALUATIONS).write_text(text[:20])
    assert reader.news() == []
    (tmp_path / EVALUATIONS).write_text(text)
    assert len(reader.news()) == 1


def test_the_newest_weights_are_taken_once_and_are_copies() -> None:
    newest = NewestWeights({"policy/kernel": TensorSpec((2,), "float32")})
    assert newest.take() is None
    pushed = np.array([1.0, 2.0], np.float32)
    for version in (3, 4):
        assert newest.offer(1, version, {"policy/kernel": pushed * version}, lambda: None, 1.0)
    pushed[:] = 0
    version, weights = newest.take() or (0, {})
    assert version == newest.version == 4
    assert weights["policy/kernel"].tolist() == [4.0, 8.0]
    assert newest.take() is None
