"""A copy of the model in every process, and no server: clients are threads that call their process's copy.

Tried: TensorFlow's threads left to TensorFlow, and one; one is 2 % faster, with a p99 of two thirds, and kept. One
client instead of 16 in each process gets 8 % fewer answers, in a fifteenth of the time each. `--processes` has no
meaning here: there are four.
"""

from __future__ import annotations

import functools

import keras_model
import numpy as np
from load import Ask, Load, by_threads, measure, parse, report, within

PROCESSES = 4
THREADS = 1
"""What TensorFlow computes with in each process: four processes already have more than enough for two cores."""


def connect(load: Load, index: int, observation: np.ndarray) -> Ask:
    """A client: a thread that calls its process's copy."""
    return functools.partial(keras_model.compiled(load, THREADS), observation)


def main() -> None:
    load = within(parse(__doc__), PROCESSES)
    tally = measure(load, by_threads, functools.partial(connect, load))
    note = f"{load.processes} processes with a model each, {load.clients} threads in all"
    report("model_per_process", keras_model.versions(), load, tally, note)


if __name__ == "__main__":
    main()
