"""What `actor.pipeline` does where server, learner and actors share one machine.

    python benchmarks/pipeline.py --rounds 3

`corral run` of the CartPole example for some ten thousand steps, pipelines and batch timeouts in turns, so that
they share whatever else the machine does: as it is, where an environment computes, and with one that waits for as
long without computing, as for a simulator elsewhere. Prints steps a second without the start: the median of the
rounds, and each of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from batch_timeout import EXPERIMENT, steady

HERE = Path(__file__).parent
PIPELINES = (1, 2, 3)
TIMEOUTS_US = (0, 1000)


class Kind(NamedTuple):
    """A kind of environment: its name, and the options that choose it."""

    name: str
    options: tuple[str, ...] = ()


KINDS = (
    Kind("CartPole, which computes"),
    Kind(
        "CartPole that waits, 6 ms for a step of 12",
        ("environment.id=pipeline:make", "environment.kwargs.wait_s=0.0005"),
    ),
)


def make(wait_s: float) -> Any:
    """CartPole whose steps take `wait_s` longer, in which the processor is free."""
    import gymnasium

    class Waiting(gymnasium.Wrapper):
        def step(self, action: Any) -> Any:
            time.sleep(wait_s)
            return self.env.step(action)

    return Waiting(gymnasium.make("CartPole-v1"))


def steps_per_s(kind: Kind, pipeline: int, timeout_us: int, seed: int, steps: int) -> float:
    """Of one run."""
    settings = [
        f"actor.pipeline={pipeline}",
        "run.target_return=100000",
        f"run.max_env_steps={steps}",
        *kind.options,
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "corral.cli", "run", str(EXPERIMENT), "--plain", "--folder", folder]
        command += ["--seed", str(seed), "--timeout-us", str(timeout_us)]
        command += [word for setting in settings for word in ("--set", setting)]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
        (run,) = Path(folder).iterdir()
        return steady(run)["per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="through all settings")
    parser.add_argument("--steps", type=int, default=60_000, help="environment steps of one run")
    arguments = parser.parse_args()
    for kind in KINDS:
        cases = [(timeout_us, pipeline) for timeout_us in TIMEOUTS_US for pipeline in PIPELINES]
        found: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
        for seed in range(arguments.rounds):
            for timeout_us, pipeline in cases:
                rate = steps_per_s(kind, pipeline, timeout_us, seed, arguments.steps)
                found[timeout_us, pipeline].append(rate)
        print(f"\n**{kind.name}**\n\n| timeout_us | pipeline | steps/s | rounds |\n|---|---|---|---|")
        for (timeout_us, pipeline), rates in found.items():
            each = ", ".join(f"{rate:,.0f}" for rate in rates)
            print(f"| {timeout_us:,} | {pipeline} | {statistics.median(rates):,.0f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
