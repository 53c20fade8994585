"""`corral bench`, smoke-sized: real processes and sockets; what it says is looked at, never how fast it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SHORT = ("--seconds", "0.4", "--clients", "4", "--max-size", "8")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corral.cli", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def results(*arguments: str) -> list[dict[str, Any]]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["cores"] >= 1
    return list(told["results"])


def check_sound(result: dict[str, Any]) -> None:
    """What holds of every measurement, however fast the machine is."""
    assert result["answers_per_s"] > 0
    assert result["rows_per_s"] == pytest.approx(result["answers_per_s"] * result["rows"])
    assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["max_ms"]
    assert 1 <= result["mean_batch"] <= result["max_size"]
    assert result["errors"] == 0
    assert result["compiled"] == 0, "a request met a compile"


def test_steps_with_their_limits_and_a_sweep() -> None:
    found = results(*SHORT, "--rows", "1,2")
    assert [result["rows"] for result in found] == [1, 2]
    for result in found:
        check_sound(result)
        assert result["request"] == "step"
        assert result["echo_per_s"] > 0
        assert result["model_only_per_s"] > 0
        assert result["efficiency"] == pytest.approx(result["rows_per_s"] / result["model_only_per_s"])


def test_an_open_loop_over_tcp() -> None:
    (result,) = results(*SHORT, "--request", "infer", "--rate", "200", "--transport", "curve", "--no-floors")
    check_sound(result)
    assert result["transport"] == "curve"
    assert result["answers_per_s"] < 400


@pytest.mark.parametrize("request_", ["infer", "step"])
def test_pushed_weights_are_whole_in_every_answer(request_: str) -> None:
    (result,) = results(*SHORT, "--request", request_, "--push-every", "0.1", "--no-floors")
    check_sound(result)
    assert result["pushes"] >= 1
    assert result["checked"] > 0
    assert result["torn"] == 0


def test_idle_actors_are_weighed(tmp_path: Path) -> None:
    (result,) = results(*SHORT, "--idle", "20", "--no-floors", "--plot", str(tmp_path / "bench.png"))
    check_sound(result)
    assert result["idle"] == 20
    assert result["kb_per_idle"] != 0
    assert (tmp_path / "bench.png").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--model", "lstm"), "error: --model lstm: give mlp, nature_cnn, a saved model (.keras)"),
        (("--model", "gone.keras"), "error: --model gone.keras: no such file"),
        (("--clients", "x"), "error: --clients: 'x' is no number"),
        (("--server", "tcp://127.0.0.1:9", "--request", "step"), "error: a running server is asked with"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.strip().startswith(text)
    assert "Traceback" not in done.stderr
