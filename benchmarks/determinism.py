"""What `run.determinism` costs: environment steps a second with it and without, in turns.

    python benchmarks/determinism.py --rounds 3

`corral run` of an example where environments and network are small, and of one where both are large (Pong, a
convolutional network). Each run ends at a number of steps, before its target. As the example is; with environments
that are stepped one by one, as lockstep does it; in lockstep, with one thread of TensorFlow and with two. Prints a
table for each: medians of the rounds without the start, in steps a second and as parts of the example as it is, and
each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from batch_timeout import steady

EXAMPLES = Path(__file__).parents[1] / "examples"


class Kind(NamedTuple):
    """An example, and environment steps of a run of it."""

    name: str
    steps: int


class Way(NamedTuple):
    """A way to run it: settings, and the threads of TensorFlow where they are fixed."""

    name: str
    settings: tuple[str, ...] = ()
    threads: int = 0


KINDS = (Kind("cartpole", 60_000), Kind("pong", 12_000))
WAYS = (
    Way("as it is"),
    Way("environments one by one", ("environment.vectorization=none",)),
    Way("in lockstep", ("run.determinism=true",)),
    Way("in lockstep, two threads", ("run.determinism=true",), threads=2),
)


def steps_per_s(kind: Kind, way: Way, seed: int, part: float) -> float:
    """Of one run."""
    settings = ("run.target_return=1e9", f"run.max_env_steps={int(kind.steps * part)}", *way.settings)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "corral.cli", "run", str(EXAMPLES / f"{kind.name}.toml"), "--plain"]
        command += ["--folder", folder, "--seed", str(seed)]
        command += [word for setting in settings for word in ("--set", setting)]
        threads = {"TF_NUM_INTRAOP_THREADS": str(way.threads)} if way.threads else {}
        done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, timeout=1200)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        (run,) = Path(folder).iterdir()
        return steady(run)["per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="through all ways")
    parser.add_argument("--part", type=float, default=1.0, help="of the steps of each run, to try it")
    arguments = parser.parse_args()
    for kind in KINDS:
        found: dict[Way, list[float]] = {way: [] for way in WAYS}
        for seed in range(arguments.rounds):
            for way in WAYS:
                found[way].append(steps_per_s(kind, way, seed, arguments.part))
        medians = {way: statistics.median(rates) for way, rates in found.items()}
        print(f"\n**{kind.name}.toml**\n\n| | steps/s | of it as it is | rounds |\n|---|---|---|---|")
        for way, median in medians.items():
            each = ", ".join(f"{rate:,.0f}" for rate in found[way])
            print(f"| {way.name} | {median:,.0f} | {median / medians[WAYS[0]]:.0%} | {each} |", flush=True)


if __name__ == "__main__":
    main()
