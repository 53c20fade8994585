"""How long to stay away from a server that is busy."""

from __future__ import annotations

import random

FIRST_S, LONGEST_S = 0.02, 1.0
"""Seconds until the second try, and most between two tries."""


class Backoff:
    """Pauses that grow twofold up to `LONGEST_S`, each shortened by chance: a crowd must not come back as one.

    Args:
      chance: decides by how much; None is another one for everybody.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self._random = chance or random.Random()
        self._most_s = FIRST_S

    def next_s(self) -> float:
        """Seconds to wait until the next try."""
        pause = self._most_s * self._random.uniform(0.5, 1.0)
        self._most_s = min(2 * self._most_s, LONGEST_S)
        return pause
