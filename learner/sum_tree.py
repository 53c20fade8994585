"""A sum tree: numbers from which indices are drawn in proportion, many at once, in numpy."""

from __future__ import annotations

import numpy as np


class SumTree:
    """`size` numbers of 0 or more, all 0 at first, and their sums over halves, quarters, eighths and so on.

    Setting and finding `n` of them takes a handful of numpy operations for each level, whatever `n` (Schaul et al.
    2016, "Prioritized Experience Replay", appendix B.2.1).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._levels = max(size - 1, 0).bit_length()
        self._leaves = 1 << self._levels
        # Node i has the children 2i and 2i + 1; node 1 is the root.
        self._sums = np.zeros(2 * self._leaves, np.float64)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._sums.nbytes

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._sums[1])

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The numbers at `index`, float64."""
        found: np.ndarray = self._sums[np.asarray(index) + self._leaves]
        return found

    def set(self, index: np.ndarray, value: np.ndarray | float) -> None:
        """Numbers to put at `index`, int64 `[n]`; the last counts where one is named twice."""
        nodes = np.asarray(index) + self._leaves
        self._sums[nodes] = value
        for _ in range(self._levels):
            nodes = nodes >> 1  # those of two children twice: sorting them out takes longer
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The indices whose shares of the total hold each of `mass`, float64 `[n]`, 0 to less than `total`.

        An index whose number is 0 is never found while another's is not.
        """
        rest, node = np.array(mass, np.float64), np.ones(len(mass), np.int64)
        for _ in range(self._levels):
            left = 2 * node
            before = self._sums[left]
            # Rounding may leave a mass at the end of the left half: nobody goes where nothing is.
            right = (rest >= before) & (self._sums[left + 1] > 0)
            rest -= np.where(right, before, 0.0)
            node = left + right
        return node - self._leaves
