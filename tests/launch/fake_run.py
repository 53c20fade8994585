"""`corral run` with fake roles: `python fake_run.py EXPERIMENT [SUMMARY [RESUMED_FOLDER [KEY=VALUE...]]]`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from corral.launch.cast import Part
from corral.launch.errors import guarded
from corral.launch.experiment import load_experiment
from corral.launch.local import run_locally

SERVER = {
    "role": "server",
    "ready": True,
    "env_steps": 12_000,
    "steps_per_s": 31_000.0,
    "mean_batch": 48.25,
    "latency_p50_ms": 0.75,
    "latency_p99_ms": 1.5,
    "policy_version": 76,
}
LEARNER = {"role": "learner", "ready": True, "env_steps": 12_100, "mean_return": 123.5, "policy_lag_p50": 2.0}


def command(part: Part, run_folder: Path, sockets: Path) -> list[str]:
    script = Path(__file__).with_name("fake_role.py")
    return [sys.executable, str(script), part.role, str(run_folder), str(sockets), str(part.number)]


def fetch(address: str, timeout_s: float) -> dict[str, Any] | None:
    path = Path(address.removeprefix("ipc://"))
    if not path.exists():
        return None
    return SERVER if path.name.startswith("actors") else LEARNER


if __name__ == "__main__":
    signal.alarm(60)
    experiment = load_experiment(sys.argv[1], sys.argv[4:], environ={})
    summary, resume = (Path(sys.argv[n]) if len(sys.argv) > n else None for n in (2, 3))
    sys.exit(
        guarded(lambda: run_locally(experiment, resume=resume, summary=summary, commands=command, fetch=fetch))
    )
