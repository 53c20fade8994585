"""Seeds made of a run's seed."""

from __future__ import annotations

import numpy as np


def seed_of_life(seed: int, life: int) -> int:
    """What seeds environments and exploration in the `life`-th resumption of a run, 0 to 2^32 - 1.

    The first life takes the run's own seed. A later one must not meet the very same starts and chances again.
    """
    return seed if life == 0 else int(np.random.SeedSequence((seed, life)).generate_state(1)[0])


def seed_of_policy(seed: int, index: int) -> int:
    """What seeds the exploration of the policy of that index, 0 to 2^32 - 1.

    Two players of one environment, with policies of their own, must not draw the same chances.
    """
    return seed if index == 0 else int(np.random.SeedSequence((seed, 0, index)).generate_state(1)[0])
