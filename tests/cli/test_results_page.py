"""Every command and every way of loading of docs/results.md, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.command import ROOT, Workplace, workplace
from tests.support.run_folder import cartpole_run, painted_run

PAGE = (ROOT / "docs" / "results.md").read_text()
RUN = "runs/cartpole-20261124-120000"
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("corral ")]
LOADING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        (place.folder / "runs").mkdir()
        place.environment["PYTHONPATH"] = str(ROOT)
        yield place


@pytest.mark.long
def test_the_commands_run(place: Workplace) -> None:
    painted_run(place.folder / RUN)  # CartPole's pictures need pygame
    for command in COMMANDS:
        done = place.corral(*command.split()[1:])
        assert done.returncode == 0, f"{command}: {done.stderr}"
    written = {path.name for path in (*place.folder.iterdir(), *(place.folder / RUN / "export").iterdir())}
    assert {"episode.gif", "cartpole.keras", "savedmodel"} <= written


def test_the_saved_model_loads_as_shown(place: Workplace) -> None:
    cartpole_run(place.folder / RUN)
    assert place.corral("export", RUN, "--format", "savedmodel").returncode == 0
    (code,) = [code for code in LOADING if "saved_model" in code]
    assert python(place, code + "print(actions.numpy().tolist())") == "[0, 0, 0]\n"


def test_what_lies_below_the_argmax_is_a_model_of_its_own(place: Workplace) -> None:
    cartpole_run(place.folder / RUN)
    (code,) = [code for code in LOADING if "onnx" in code]
    *until_exported, export = code.splitlines()
    assert export.startswith('network.export("policy.onnx", format="onnx")')  # which needs tf2onnx
    shown = 'print(network({"observation": np.zeros((2, 4), "float32")}).shape)'
    assert python(place, "\n".join([*until_exported, shown])) == "(2, 2)\n"


def python(place: Workplace, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
