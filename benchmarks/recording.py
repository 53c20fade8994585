"""What a server's figures cost: the time of recording them beside all the time that the server computes.

    python benchmarks/recording.py --seconds 5

Whole servers with and without figures differ by less than two runs of the same one do. So the calls that record a
batch are timed by themselves, on batches as large as the clients of `corral bench` make, and set against the
processor time that the server takes for such a batch, measured by `corral bench` in turns with it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import timeit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from corral.bench.result import Result
from corral.bench.sweep import Conditions, measure, plans
from corral.protocol import TensorSpec
from inference_server.batch import Batch, Request
from inference_server.batcher import Reason
from inference_server.delays import Departure
from inference_server.sessions import Session
from inference_server.stats import Stats

ROUNDS = 3
CALLS = 2_000
SHOWS_PER_S = 4
"""How often the samples are made for the board."""


def recording_us(requests: int) -> tuple[float, float]:
    """Microseconds for recording one batch of so many requests, and for one picture of all figures."""
    stats = Stats(time.monotonic)
    batch = Batch(max(requests, 1), {"observation": TensorSpec((4,), "float32", None, None)})
    session = Session(1, 1, b"", batch.slots[:1], 0, 0.0)
    now = time.monotonic()
    batch.requests = [Request(session, b"", 1, row, row + 1, now) for row in range(requests)]
    batch.rows = requests

    def record() -> None:
        # What one turn of the server's loop does for its figures alone.
        delays = stats.delays
        began = time.monotonic()
        delays.socket_is_empty()
        delays.reads(began, requests)
        delays.socket_is_empty()
        delays.blocked(False)
        delays.blocked(False)
        departure = Departure(Reason.IDLE, began, delays.moment)
        stats.batch_left(batch, departure, requests, time.monotonic(), gathers=False, frees=True)

    stats.figures()
    each = min(timeit.repeat(record, number=CALLS, repeat=5)) / CALLS
    show = min(timeit.repeat(stats.samples, number=50, repeat=5)) / 50
    return each * 1e6, show * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()
    for clients in ("1", "64"):
        shares = []
        for _ in range(ROUNDS):
            (plan,) = plans({"request": "step", "clients": clients})
            result: Result = next(iter(measure([plan], Conditions("mlp", seconds=arguments.seconds, floors=False))))
            batch_us, show_us = recording_us(max(round(result.mean_batch), 1))
            batches_per_s = result.answers_per_s / result.mean_batch
            recording = batch_us * batches_per_s + show_us * SHOWS_PER_S
            shares.append(recording / (result.server_cpu * 1e6))
            print(
                f"{clients} clients: {result.answers_per_s:,.0f} answers/s in batches of {result.mean_batch:.1f}; "
                f"the server computes {1e6 * result.server_cpu / batches_per_s:.0f} us a batch, recording it takes "
                f"{batch_us:.1f} us, a picture of all figures {show_us:.0f} us: {shares[-1]:.2%}",
                flush=True,
            )
        print(f"{clients} clients: {statistics.median(shares):.2%} (median of {ROUNDS})", flush=True)


if __name__ == "__main__":
    main()
