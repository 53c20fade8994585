"""The closed loop that every peer's clients are played by, around a peer that answers from nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.benchmarks.scripts import BENCHMARKS

PEER = """
import sys, time
sys.path.insert(0, {folder!r})
import numpy as np
from load import by_futures, by_tasks, by_threads, measure, parse, report

LOGITS, VALUES = np.zeros((2, 2)), np.zeros(2)

class Done:
    def done(self): return True
    def result(self): return ask()

def ask():
    time.sleep(0.001)
    {fault}
    return LOGITS, VALUES

def threads(index, observation):
    assert observation.shape == (2, 4)
    return ask

async def tasks(index, observation):
    async def wait():
        return ask()
    return wait

def futures(index, observation):
    return Done

if __name__ == "__main__":
    print("what a library says at import")
    load = parse(__doc__)
    print("what a library says later")
    report("made_up", "1.0", load, measure(load, by_{way}, {way}), "note")
"""


def run_peer(folder: Path, way: str, fault: str = "pass") -> subprocess.CompletedProcess[str]:
    script = folder / "peer.py"
    script.write_text(textwrap.dedent(PEER.format(folder=str(BENCHMARKS / "peers"), way=way, fault=fault)))
    options = ("--clients", "3", "--processes", "2", "--rows", "2", "--seconds", "0.3")
    return subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("way", ["threads", "tasks", "futures"])
def test_every_way_of_playing_clients_counts_answers(tmp_path: Path, way: str) -> None:
    done = run_peer(tmp_path, way)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert set(line) == {
        "peer", "version", "answers_per_s", "rows_per_s", "p50_ms", "p99_ms", "errors", "note",
    }  # fmt: skip
    assert 100 < line["answers_per_s"] <= 3_000, "3 clients, each waiting for 1 ms at least"
    assert line["rows_per_s"] == pytest.approx(2 * line["answers_per_s"], rel=1e-3)
    assert 1 <= line["p50_ms"] <= line["p99_ms"]
    assert line["errors"] == 0


def test_libraries_cannot_write_among_the_json(tmp_path: Path) -> None:
    assert "later" not in run_peer(tmp_path, "threads").stdout


def test_a_peer_that_answers_something_else_is_refused(tmp_path: Path) -> None:
    done = run_peer(tmp_path, "threads", fault="return LOGITS, VALUES[:1]")
    assert done.returncode != 0
    assert "an answer of (2, 2) logits and (1,) values to 2 rows" in done.stderr


@pytest.mark.parametrize("way", ["threads", "tasks", "futures"])
def test_errors_are_counted_and_end_a_client_in_time(tmp_path: Path, way: str) -> None:
    fault = "ask.calls = getattr(ask, 'calls', 0) + 1\n    if ask.calls > 2: raise OSError('gone')"
    done = run_peer(tmp_path, way, fault)
    assert done.returncode != 0
    assert "no answer at all; OSError: gone" in done.stderr
