"""`corral plan`: the whole command at its smallest, and its mistakes. What this machine does is never looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.test_result import result
from tests.cli.test_command_line import CARTPOLE, corral_command, error


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """What `corral bench --json` would have printed of two loads."""
    file = tmp_path / "bench.json"
    rows = [
        result(clients=clients, rows=12, answers_per_s=rate, server_cpu=0.5, client_cpu=0.1, learner_cpu=0.1)
        for clients, rate in ((1, 1_000.0), (64, 10_000.0))
    ]
    file.write_text(json.dumps({"results": [row.as_dict() for row in rows]}))
    return file


@pytest.mark.long
def test_a_plan_follows_from_what_was_measured(bench: Path) -> None:
    done = corral_command(
        "plan", CARTPOLE, "--actors", 2000, "--env-ms", 4, "--bench", bench, "--json", "--transport", "tcp"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["demand"]["think_s"] == pytest.approx(12 * 0.004)
    plan = told["plan"]
    # 2,000 actors that think 48 ms ask for 41,667 answers/s at most, of the 8,000 that a server should give.
    assert plan["servers"] == 5
    assert plan["requests"] == pytest.approx(plan["acting_per_s"] / 12 * (120 + 192 + 4 + 66))
    assert plan["answers"] == pytest.approx(plan["acting_per_s"] / 12 * (128 + 2 + 66))
    # 4 -> 64 -> 64 -> 2 and 1, of float32.
    assert told["figures"]["training"]["weights_bytes"] == 4 * (4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3)
    assert told["figures"]["training"]["steps"] == 16 * 16
    assert told["figures"]["think"] is None


@pytest.mark.long
@pytest.mark.timeout(400)
def test_it_measures_what_it_is_not_told() -> None:
    done = corral_command("plan", CARTPOLE, "--seconds", 0.2, "--set", "server.batching.max_size=64", timeout_s=380)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 actors of 12 environments, 48 in all; ")
    for line in ("steps/s", "servers ", "learner ", "cores ", "actors to servers", "learner to servers"):
        assert f"\n{line}" in done.stdout
    assert "serving 64 clients, 5 of 6 done" in done.stderr


def test_mistakes_are_told(tmp_path: Path) -> None:
    assert "cannot be read" in error(corral_command("plan", CARTPOLE, "--bench", tmp_path / "none.json"))
    assert "--transport must be" in error(corral_command("plan", CARTPOLE, "--transport", "pigeon"))
