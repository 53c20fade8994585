"""What the batch timeout does: answers per second, batch sizes and latencies, for three kinds of load.

    python benchmarks/batch_timeout.py --seconds 4 --repeats 3

Each load has one server, whose timeout is changed while it runs (`corral set` does the same), round after round
through all timeouts, so that they share whatever else the machine does. Clients are a closed loop: one row each, an
answer, then the time that an environment takes, then the next row. Medians over the rounds are printed. With
`--training` it is `corral run` that is measured, actors and learner included, once per timeout and round.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zmq

from corral.protocol import MessageType, change_settings, fetch_status, open_dealer, pack_header

TIMEOUTS_US = (0, 200, 500, 1000, 2000, 5000)
EXPERIMENT = Path(__file__).parents[1] / "examples" / "cartpole.toml"


class Load(NamedTuple):
    """A model of `layers` hidden layers of 64 units, and clients whose environments take `step_ms` on average."""

    name: str
    layers: int
    clients: int
    step_ms: float


LOADS = (
    Load("fast model, no time between rows", 2, 64, 0.0),
    Load("fast model, environments of 5 ms", 2, 64, 5.0),
    Load("slow model, environments of 5 ms", 150, 64, 5.0),
)


def save_model(path: Path, layers: int) -> None:
    """A perceptron 4 -> 64 -> ... -> 2. Many small layers cost a call nearly the same for 1 row as for 64, as an
    accelerator does."""
    import keras

    inputs = keras.Input((4,), name="observation")
    hidden = inputs
    for _ in range(layers):
        hidden = keras.layers.Dense(64, "tanh")(hidden)
    keras.Model(inputs, {"logits": keras.layers.Dense(2)(hidden)}).save(path)


@contextmanager
def serving(model: Path, address: str) -> Iterator[None]:
    """`corral serve` at `address`, ready."""
    command = [sys.executable, "-m", "corral.cli", "serve", str(model), "--address", address, "--max-size", "64"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (fetch_status(address, 1.0) or {}).get("ready"):
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
        yield
    finally:
        server.terminate()
        server.wait(20)


class Clients:
    """A closed loop of `count` clients, each with a connection of its own, played by one thread."""

    def __init__(self, address: str, count: int, step_ms: float) -> None:
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets = [open_dealer(self._context, address) for _ in range(count)]
        self._index = {socket: index for index, socket in enumerate(self._sockets)}
        self._sent = [0.0] * count
        self._step_s = step_ms / 1e3
        self._row = np.zeros((1, 4), np.float32).tobytes()
        self._random = random.Random(0)
        self._due: list[tuple[float, int]] = []
        self._sequence = 0
        for index, socket in enumerate(self._sockets):
            self._poller.register(socket, zmq.POLLIN)
            self._due.append((time.perf_counter(), index))

    def run(self, seconds: float) -> list[float]:
        """Go on for a while; the latency of every answer in milliseconds."""
        latencies = []
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            while self._due and self._due[0][0] <= now:
                self._send(heapq.heappop(self._due)[1])
            # Whole milliseconds are all that poll can wait: the last one is spent looking.
            wait_ms = max(0, int((self._due[0][0] - now) * 1e3)) if self._due else 100
            for socket, _ in self._poller.poll(wait_ms):
                socket.recv()
                index, now = self._index[socket], time.perf_counter()
                latencies.append((now - self._sent[index]) * 1e3)
                # 50 to 150 % of the mean: environments do not take turns.
                step_s = self._step_s * self._random.uniform(0.5, 1.5)
                heapq.heappush(self._due, (now + step_s, index))
        return latencies

    def close(self) -> None:
        """Close every connection."""
        self._context.destroy(linger=0)

    def _send(self, index: int) -> None:
        self._sequence += 1
        self._sent[index] = time.perf_counter()
        self._sockets[index].send_multipart([pack_header(MessageType.INFER, 0, self._sequence, rows=1), self._row])


def measure_serving(load: Load, seconds: float, repeats: int) -> dict[int, list[dict[str, float]]]:
    """Timeout -> a measurement for each round."""
    found: dict[int, list[dict[str, float]]] = {timeout: [] for timeout in TIMEOUTS_US}
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/server"
        save_model(Path(folder) / "model.keras", load.layers)
        with serving(Path(folder) / "model.keras", address):
            clients = Clients(address, load.clients, load.step_ms)
            clients.run(1.0)
            for _ in range(repeats):
                for timeout in TIMEOUTS_US:
                    change_settings(address, {"server.batching.timeout_us": timeout})
                    clients.run(0.3)
                    before = fetch_status(address) or {}
                    latencies = clients.run(seconds)
                    after = fetch_status(address) or {}
                    found[timeout].append(
                        {
                            "per_s": len(latencies) / seconds,
                            "batch": (after["rows"] - before["rows"]) / (after["batches"] - before["batches"]),
                            "p50": float(np.percentile(latencies, 50)),
                            "p99": float(np.percentile(latencies, 99)),
                        }
                    )
            clients.close()
    return found


def measure_training(repeats: int, steps: int) -> dict[int, list[dict[str, float]]]:
    """Timeout -> a measurement for each round, of CartPole for so many steps."""
    found: dict[int, list[dict[str, float]]] = {timeout: [] for timeout in TIMEOUTS_US}
    for seed in range(repeats):
        for timeout in TIMEOUTS_US:
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    sys.executable,
                    "-m",
                    "corral.cli",
                    "run",
                    str(EXPERIMENT),
                    "--plain",
                    "--folder",
                    folder,
                ]
                command += ["--folder", folder, "--seed", str(seed), "--timeout-us", str(timeout)]
                command += ["--set", "run.target_return=100000", "--set", f"run.max_env_steps={steps}"]
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
                (run,) = Path(folder).iterdir()
                found[timeout].append(steady(run))
    return found


def steady(run: Path) -> dict[str, float]:
    """Figures of a run without its start."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[len(lines) // 4], lines[-1]
    summary = json.loads((run / "summary.json").read_text())
    return {
        "per_s": (last["env_steps"] - first["env_steps"]) / (last["elapsed_s"] - first["elapsed_s"]),
        "batch": summary["mean_batch"],
        "p50": summary["latency_p50_ms"],
        "p99": summary["latency_p99_ms"],
    }


def show(name: str, unit: str, found: dict[int, list[dict[str, float]]]) -> None:
    """Print the medians as a table."""
    print(f"\n{name}\n\n| timeout_us | {unit} | of the best | mean batch | p50 ms | p99 ms |\n{'|---' * 6}|")
    medians = {
        timeout: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for timeout, rounds in found.items()
    }
    best = max(median["per_s"] for median in medians.values())
    for timeout, median in medians.items():
        print(
            f"| {timeout:,} | {median['per_s']:,.0f} | {median['per_s'] / best:.0%} | {median['batch']:.1f} "
            f"| {median['p50']:.2f} | {median['p99']:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--repeats", type=int, default=3, help="rounds through all timeouts")
    parser.add_argument("--training", action="store_true", help="measure corral run in place of corral serve")
    parser.add_argument("--steps", type=int, default=120_000, help="environment steps of one training run")
    arguments = parser.parse_args()
    if arguments.training:
        show("CartPole, 4 actors of 12", "steps/s", measure_training(arguments.repeats, arguments.steps))
        return
    for load in LOADS:
        show(
            f"{load.name}, {load.clients} clients",
            "answers/s",
            measure_serving(load, arguments.seconds, arguments.repeats),
        )


if __name__ == "__main__":
    main()
