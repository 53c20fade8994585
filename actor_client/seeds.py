"""Where the environments' chances come from."""

from __future__ import annotations

import numpy as np


def environment_seeds(seed: int, first_environment: int, count: int, *more: int) -> list[int]:
    """One seed for each environment, drawn from the run's seed, the environment's number, and whatever else."""
    numbers = range(first_environment, first_environment + count)
    return [int(np.random.SeedSequence((seed, number, *more)).generate_state(1)[0] >> 1) for number in numbers]
