"""The seed of a run that was resumed."""

from __future__ import annotations

import numpy as np


def seed_of_life(seed: int, life: int) -> int:
    """What seeds environments and exploration in the `life`-th resumption of a run, 0 to 2^32 - 1.

    The first life takes the run's own seed. A later one must not meet the very same starts and chances again.
    """
    return seed if life == 0 else int(np.random.SeedSequence((seed, life)).generate_state(1)[0])
