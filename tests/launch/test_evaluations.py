"""What an evaluator writes, and how it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corral.launch.evaluations import Evaluations, best_evaluation
from corral.launch.evaluator import BestPolicy, NewestWeights
from corral.launch.folder import BEST_POLICY, EVALUATIONS
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


def test_the_policy_that_played_best_is_kept(tmp_path: Path) -> None:
    import keras

    from corral.agents import build_agent, weights_of
    from corral.agents.settings import AgentSettings, NetworkSettings

    settings = AgentSettings(network=NetworkSettings(hidden=()))
    agent = build_agent(settings, {"observation": TensorSpec((1,), "float32")}, TensorSpec((), "int64", 0, 1))

    def chooses(action: int) -> dict[str, np.ndarray]:
        """Weights that always choose this action."""
        weights = weights_of({name: agent.nets[name] for name in agent.published})
        bias = next(name for name in weights if name.endswith("logits/bias"))
        return {**weights, bias: np.eye(2, dtype=np.float32)[action] * 100}

    def kept() -> int:
        observation = {"observation": np.zeros((1, 1), np.float32)}
        return int(np.asarray(keras.models.load_model(tmp_path / BEST_POLICY)(observation)["action"])[0])

    best, log = BestPolicy(agent, tmp_path), Evaluations(tmp_path)
    for mean_return, action, is_best in [(10.0, 1, True), (10.0, 0, False), (float("nan"), 0, False)]:
        assert best.offer(mean_return, chooses(action)) is is_best
        log.add({**FIGURES, "mean_return": mean_return, "kept": is_best})
        assert kept() == 1
    resumed = BestPolicy(agent, tmp_path)
    assert not resumed.offer(9.0, chooses(0))
    assert best_evaluation(tmp_path)["mean_return"] == 10.0
    assert resumed.offer(11.0, chooses(0))
    assert kept() == 0


def test_without_evaluations_there_is_no_best(tmp_path: Path) -> None:
    assert best_evaluation(tmp_path) == {}
    Evaluations(tmp_path).add({**FIGURES, "kept": False})  # the disk was full
    assert best_evaluation(tmp_path) == {}
