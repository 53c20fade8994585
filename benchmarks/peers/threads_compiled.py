"""Threads around one compiled function: `model.predict` without what it does besides. One process, one model.

Tried: TensorFlow's threads left to TensorFlow, and one; the first is 5 % faster and kept. `--processes` has no
meaning here.
"""

from __future__ import annotations

import functools

import keras_model
import numpy as np
from load import Ask, Load, by_threads, measure, parse, report, within

THREADS = 0
"""TensorFlow's own choice."""


def connect(load: Load, index: int, observation: np.ndarray) -> Ask:
    """A client: a thread that calls the function all of them share."""
    return functools.partial(keras_model.compiled(load, THREADS), observation)


def main() -> None:
    load = within(parse(__doc__), processes=1)
    tally = measure(load, by_threads, functools.partial(connect, load))
    report("threads_compiled", keras_model.versions(), load, tally, f"{load.clients} threads of one process")


if __name__ == "__main__":
    main()
