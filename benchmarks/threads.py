"""Many threads, one model: `PolicyClient.infer` against `corral serve`, beside `model.predict` in the same threads.

    python benchmarks/threads.py --threads 32 --seconds 5

Each thread asks for one row, waits for the answer, and asks again. Both sides take turns in one process run, three
times; medians are printed, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROUNDS = 3


def answers_per_s(ask: Callable[[np.ndarray], object], threads: int, seconds: float) -> float:
    """How many answers `threads` threads get per second, all asking in a closed loop."""
    row = np.zeros((1, 4), np.float32)
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def loop(index: int) -> None:
        ask(row)
        barrier.wait()
        while not over.is_set():
            ask(row)
            counts[index] += 1

    workers = [threading.Thread(target=loop, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.monotonic()
    time.sleep(seconds)
    over.set()
    taken = time.monotonic() - started
    for worker in workers:
        worker.join()
    return sum(counts) / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()

    import keras

    from actor_client import PolicyClient

    observation = keras.Input((4,))
    hidden = keras.layers.Dense(64, "tanh")(keras.layers.Dense(64, "tanh")(observation))
    model = keras.Model(
        observation, {"logits": keras.layers.Dense(2)(hidden), "value": keras.layers.Dense(1)(hidden)}
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "policy.keras")
        address = f"ipc://{folder}/server"
        command = [sys.executable, "-m", "corral.cli", "serve", f"{folder}/policy.keras", "--address", address]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            client = PolicyClient(address, timeout_s=60)
            rivals: dict[str, Callable[[np.ndarray], object]] = {
                "PolicyClient.infer": client.infer,
                "model.predict": lambda row: model.predict(row, verbose=0),
            }
            figures: dict[str, list[float]] = {name: [] for name in rivals}
            for _ in range(ROUNDS):
                for name, ask in rivals.items():
                    figures[name].append(answers_per_s(ask, arguments.threads, arguments.seconds))
        finally:
            server.terminate()
            server.wait()
    print(f"| {arguments.threads} threads | answers/s, median of {ROUNDS} | min | max |\n|---|---|---|---|")
    for name, each in figures.items():
        print(f"| `{name}` | {statistics.median(each):,.0f} | {min(each):,.0f} | {max(each):,.0f} |")
    ours, theirs = (statistics.median(each) for each in figures.values())
    print(f"\nratio {ours / theirs:,.0f}")


if __name__ == "__main__":
    main()
