"""Serving and learning from Atari frames on an accelerator: what GPU.md asks for, in one go.

    KERAS_BACKEND=jax python benchmarks/gpu.py
    KERAS_BACKEND=jax python benchmarks/gpu.py --seconds 1 --clients 4 --rows 4 --max-size 16 --sequences 2

The second line tries it anywhere. Serving: `corral bench` with the network of Mnih et al. 2015 (`nature_cnn`),
84x84x4 uint8, by STEP, in each precision and for each number of rows in a message. Learning: training steps of
V-trace on the same network, fed from memory, for each number of devices. Both: serving while a learner takes half
of the device's time. Prints tables.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from corral.bench.sweep import Conditions, measure, plans

MODEL = "nature_cnn"
AIM = 200_000
"""Observations a second that one H200 with 16 cores should answer, at 16 rows a message or more."""
SHARE = 0.5


def serving(options: argparse.Namespace, precision: str, rows: str) -> str:
    """A line of the table: one measurement."""
    load = {
        "request": "step", "clients": str(options.clients), "rows": rows, "max_size": str(options.max_size),
        "processes": str(min(options.processes, options.clients)),
    }  # fmt: skip
    told = {"replicas": "auto", "precision": precision}
    conditions = Conditions(MODEL, seconds=options.seconds, floors=False, serving=told)
    (found,) = measure(plans(load), conditions)
    per_s = found.rows_per_s
    latencies = f"{found.p50_ms:.2f} | {found.p99_ms:.2f}"
    return f"| {precision} | {rows} | {per_s:,.0f} | {latencies} | {found.mean_batch:.0f} | {per_s / AIM:.0%} |"


def serve_all(options: argparse.Namespace, title: str) -> None:
    print(f"\n{title}\n")
    print("| precision | rows a message | observations/s | p50 ms | p99 ms | rows a batch | of the aim |")
    print("|---|---|---|---|---|---|---|")
    for precision in options.precisions.split(","):
        for rows in options.rows.split(","):
            print(serving(options, precision, rows), flush=True)


def learn(options: argparse.Namespace) -> None:
    """Train from memory for a while, and say how fast; a process of its own, which ends with its parent's pipe."""
    from corral.launch.quiet import import_keras

    import_keras()
    import numpy as np

    from corral.agents import OptimizerSettings, load_backend
    from corral.bench.model import load_agent
    from corral.protocol import StepType
    from learner.pace import Pace

    agent: Any = load_agent(MODEL, "step")
    spec, sequences = agent.spec, options.sequences
    unroll = spec.zeros(sequences)
    for leaf in unroll.observation.values():
        leaf[...] = np.random.randint(0, 256, leaf.shape)
    unroll.discount[:], unroll.step_type[:] = 1.0, StepType.MID
    devices: Any = int(options.devices) if options.devices.isdecimal() else options.devices
    trainer = load_backend().Trainer(agent, OptimizerSettings(), devices)
    trainer.warm(sequences)
    pace = Pace(options.share, time.monotonic)
    steps, began = 0, time.monotonic()
    print("ready", flush=True)
    while time.monotonic() - began < options.seconds:
        time.sleep(pace.rest_s)
        begun = time.monotonic()
        trainer.step(unroll)
        pace.worked(time.monotonic() - begun)
        steps += 1
    took = time.monotonic() - began
    frames = steps * sequences * spec.sample_length
    print(
        f"| {trainer.devices} | {options.share:g} | {sequences} x {spec.sample_length} | {steps / took:.1f} | "
        f"{frames / took:,.0f} |"
    )


@contextmanager
def learner(options: argparse.Namespace, devices: str, share: float, seconds: float) -> Iterator[Any]:
    """A learner in a process of its own, once it is warm; ended with the block."""
    command = [
        sys.executable, __file__, "--learn", "--devices", devices, "--share", str(share),
        "--seconds", str(seconds), "--sequences", str(options.sequences),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != "ready":
                raise SystemExit("the learner could not start; see above")
            yield process.stdout
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", default="float32,bfloat16", help="of serving, with commas between")
    parser.add_argument("--rows", default="1,16,64", help="observations in a message, with commas between")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--processes", type=int, default=12, help="that the clients are spread over")
    parser.add_argument("--max-size", type=int, default=1024, help="rows of a full batch")
    parser.add_argument("--devices", default="1", help="numbers of devices to learn on, with commas between")
    parser.add_argument("--sequences", type=int, default=64, help="in a training step")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--learn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn:
        learn(options)
        return
    print(f"{os.environ.get('KERAS_BACKEND', 'tensorflow')}, {os.cpu_count()} cores; the aim: {AIM:,} a second")
    serve_all(options, "Serving")
    print("\nLearning\n\n| devices | share | sequences | steps/s | frames/s |\n|---|---|---|---|---|")
    for devices in options.devices.split(","):
        with learner(options, devices, 1.0, options.seconds) as said:
            print(said.read().strip(), flush=True)
    with learner(options, "1", SHARE, 3600.0):
        serve_all(options, f"Serving while a learner takes {SHARE:.0%} of the device's time")


if __name__ == "__main__":
    main()
