"""How much of a GPU's memory is taken. There is none here: stand-ins are told what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from corral.agents.backend import tensorflow as backend
from corral.launch.quiet import import_keras
from tests.agents.backend.test_jax import run_on

GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What TensorFlow was told of its two GPUs."""
    told: list[Any] = []
    monkeypatch.setenv(GROWTH, "")
    monkeypatch.delenv(GROWTH)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["g0", "g1"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *call: told.append(call))
    monkeypatch.setattr(
        tf.config,
        "set_logical_device_configuration",
        lambda gpu, parts: told.append((gpu, [part.memory_limit for part in parts])),
    )
    return told


def test_memory_is_taken_as_it_is_needed(told: list[Any]) -> None:
    import_keras()
    assert told == [("g0", True), ("g1", True)]
    assert GROWTH not in os.environ


def test_a_limit_holds_for_each_gpu_which_grows_up_to_it(told: list[Any]) -> None:
    import_keras(3000)
    assert told == [("g0", [3000]), ("g1", [3000])]
    assert os.environ[GROWTH] == "true"


def test_without_a_gpu_nothing_is_told(monkeypatch: pytest.MonkeyPatch, told: list[Any]) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    backend.take_memory(3000)
    assert told == []


ON_JAX = """
import os
from corral.launch.quiet import import_keras
import_keras({limit})
print(os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"], os.environ.get("XLA_CLIENT_MEM_FRACTION"))
try:
    import_keras(1000)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("limit", "cards", "said"),
    [
        (0, "81559\n", "false None"),
        (20390, "81559\n", "false 0.2500"),
        (20390, "40000\n81559\n", "false 0.2500"),
        (99999, "81559\n", "false 1.0000"),
        (20390, None, "false None"),
        (20390, "no devices were found\n", "false None"),
    ],
)
def test_jax_is_told_a_part_of_what_there_is(tmp_path: Path, limit: int, cards: str | None, said: str) -> None:
    if cards is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\nprintf '{cards}'\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = run_on("jax", "-c", ON_JAX.format(limit=limit), PATH=path, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == said
    assert "memory can be limited before that alone" in second
