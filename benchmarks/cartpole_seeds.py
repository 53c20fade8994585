"""`make run` over seeds: how many solve, and how long each takes from command to solved.

    python benchmarks/cartpole_seeds.py --seeds 5

Runs `corral run` once per seed, one after the other, each as a fresh process: imports and start-up count. Wall
time is taken here, from before the command starts until it has ended. Everything behind `--` goes to `corral run`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXPERIMENT = Path(__file__).parents[1] / "examples" / "cartpole.toml"


def run_once(experiment: Path, seed: int, options: list[str], folder: Path) -> dict[str, Any]:
    """The summary of one run, whose own folder is made in `folder`, with `command_s`: seconds from starting the
    command to its end."""
    summary = folder / "summary.json"
    command = [sys.executable, "-m", "corral.cli", "run", str(experiment), "--seed", str(seed), "--plain"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--folder", str(folder), "--summary", str(summary), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    taken = time.monotonic() - started
    if done.returncode not in (0, 1):
        raise RuntimeError(f"corral run failed ({done.returncode}):\n{done.stdout}")
    return json.loads(summary.read_text()) | {"command_s": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT)
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from 0")
    parser.add_argument("options", nargs="*", help="what else to tell corral run")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}\n")
    columns = ["seed", "solved", "wall s", "env steps", "steps/s", "mean return"]
    columns += ["lag p50", "mean batch", "p50 ms", "p99 ms"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    runs = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = run_once(arguments.experiment, seed, arguments.options, Path(folder))
        runs.append(run)
        print(
            f"| {seed} | {'yes' if run['solved'] else 'no'} | {run['command_s']:.1f} | {run['env_steps']:,} "
            f"| {run['env_steps_per_s']:,.0f} | {run['mean_return']:.1f} | {run['policy_lag_p50']:g} "
            f"| {run['mean_batch']:.1f} | {run['latency_p50_ms']:.2f} | {run['latency_p99_ms']:.2f} |",
            flush=True,
        )
    solved = [run["command_s"] for run in runs if run["solved"]]
    median = statistics.median(solved or [float("inf")])
    print(f"\n{len(solved)} of {len(runs)} solved; median wall time {median:.1f} s")


if __name__ == "__main__":
    main()
