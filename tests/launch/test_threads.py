"""Which servers let TensorFlow, and PyTorch, use one thread within an operation."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import ZipFile

import pytest

from corral.agents.settings import NetworkSettings
from corral.launch.threads import choose_threads, choose_threads_for_file
from corral.protocol import TensorSpec

VECTOR, IMAGE = TensorSpec((4,), "float32"), TensorSpec((84, 84, 4), "uint8")
VARIABLE, OF_TORCH = "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (VARIABLE, OF_TORCH):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def saved(path: Path, config: str, weights: int = 100) -> Path:
    with ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"w" * weights)
    return path


@pytest.mark.parametrize(
    ("network", "observation", "chosen"),
    [
        (NetworkSettings(), VECTOR, "1"),
        (NetworkSettings(hidden=()), VECTOR, "1"),
        (NetworkSettings(hidden=(64, 1024)), VECTOR, None),
        (NetworkSettings(build="nets:build"), VECTOR, None),
        (NetworkSettings(torso="impala"), VECTOR, None),
        (NetworkSettings(), IMAGE, None),
        (NetworkSettings(torso="mlp"), IMAGE, "1"),
    ],
)
def test_by_the_network_of_an_experiment(
    network: NetworkSettings, observation: TensorSpec, chosen: str | None
) -> None:
    choose_threads(network, {"observation": observation})
    assert os.environ.get(VARIABLE) == os.environ.get(OF_TORCH) == chosen


def test_by_a_saved_model(tmp_path: Path) -> None:
    choose_threads_for_file(tmp_path / "none.keras")
    choose_threads_for_file(saved(tmp_path / "cnn.keras", '{"class_name": "Conv2D"}'))
    choose_threads_for_file(saved(tmp_path / "large.keras", '{"class_name": "Dense"}', 3_000_000))
    assert VARIABLE not in os.environ
    choose_threads_for_file(saved(tmp_path / "small.keras", '{"class_name": "Dense"}'))
    assert os.environ[VARIABLE] == "1"


def test_the_user_s_choice_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4")
    choose_threads(NetworkSettings(), {"observation": VECTOR})
    assert os.environ[VARIABLE] == "4"
