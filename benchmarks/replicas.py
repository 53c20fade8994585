"""What replicas of the policy bring where the device is the limit, not the core.

    python benchmarks/replicas.py --replicas 1,2,4 --seconds 5 --rounds 3

The device is a sleep: a network that takes 10 ms for a batch of any size and leaves the cores alone (`sleepy.py`).
A real server and real clients, by STEP, with a learner that takes the unrolls; the numbers of replicas take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from corral.bench.sweep import Conditions, measure, plans

HERE = Path(__file__).parent
EXPERIMENT = """
[environment]
id = "CartPole-v1"
[agent]
unroll_length = 16
[agent.network]
build = "sleepy:build"
"""


def answers_per_s(experiment: Path, replicas: int, options: argparse.Namespace) -> float:
    """Of one measurement."""
    load = {"request": "step", "clients": str(options.clients), "max_size": str(options.max_size)}
    conditions = Conditions(str(experiment), seconds=options.seconds, floors=False, serving={"replicas": replicas})
    (result,) = measure(plans(load), conditions)
    return result.answers_per_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", default="1,2,4", help="numbers of replicas, with commas between")
    parser.add_argument("--ms", type=float, default=10.0, help="what a batch takes, in milliseconds")
    parser.add_argument("--clients", type=int, default=64, help="each has one request outstanding")
    parser.add_argument("--max-size", type=int, default=16, help="rows of a full batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="times through all of them")
    options = parser.parse_args()
    numbers = [int(text) for text in options.replicas.split(",")]
    os.environ["SLEEPY_MS"] = str(options.ms)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, str(HERE))
    found: dict[int, list[float]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder) / "sleepy.toml"
        experiment.write_text(EXPERIMENT)
        for turn in range(options.rounds):
            for number in numbers:
                found[number].append(answers_per_s(experiment, number, options))
                print(f"round {turn + 1}: {number} replicas: {found[number][-1]:,.0f} answers/s", flush=True)
    most = options.max_size / options.ms * 1e3
    first = statistics.median(found[numbers[0]])
    print(f"\n| replicas | answers/s, median of {options.rounds} | to {numbers[0]} | of {most:,.0f} for each |")
    print("|---|---|---|---|")
    for number, each in found.items():
        median = statistics.median(each)
        print(f"| {number} | {median:,.0f} | {median / first:.2f} | {median / most / number:.0%} |")


if __name__ == "__main__":
    main()
