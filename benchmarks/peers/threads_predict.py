"""Threads around `model.predict`: what one writes first. One process, one model, a thread for each client.

Tried: with and without the progress bar; without is kept. `--processes` has no meaning here.
"""

from __future__ import annotations

import functools

import keras_model
import numpy as np
from load import Ask, Load, by_threads, measure, parse, report, within


def connect(load: Load, index: int, observation: np.ndarray) -> Ask:
    """A client: a thread that calls the model all of them share."""
    return functools.partial(keras_model.model(load).predict, observation, verbose=0)


def main() -> None:
    load = within(parse(__doc__), processes=1)
    tally = measure(load, by_threads, functools.partial(connect, load))
    report("threads_predict", keras_model.versions(), load, tally, f"{load.clients} threads of one process")


if __name__ == "__main__":
    main()
