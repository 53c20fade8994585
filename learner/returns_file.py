"""The returns of the latest episodes, in a small file for whoever wants more than their mean."""

from __future__ import annotations

import io
import logging
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

RETURNS_FILE = "returns.npy"
LATEST = 1000
"""Returns that are kept."""


class Returns(NamedTuple):
    """What the file says.

    Attributes:
      episodes: training episodes that have ended, in all lives of the run.
      latest: float64 `[n]`: the returns of the last `n` of them, oldest first.
    """

    episodes: int
    latest: np.ndarray


class ReturnsFile:
    """Writes the file. A disk that is full costs the file, not the training.

    Args:
      folder: the run's.
      count: training episodes that ended in earlier lives.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._path = folder / RETURNS_FILE
        self._count = self._written = count
        self._latest: deque[float] = deque(maxlen=LATEST)
        self._failed = False

    def add(self, returns: Iterable[float], count: int) -> None:
        """Episodes have ended, and there are `count` now: of `returns` the first ones count, as many as are new."""
        self._latest.extend(value for value, _ in zip(returns, range(count - self._count), strict=False))
        self._count = count

    def write(self) -> None:
        """Write what is new, if anything is."""
        if self._failed or self._count == self._written:
            return
        import numpy as np

        self._written = self._count
        content = io.BytesIO()
        # Written over in place, a few times a second: the count at both ends tells half a file from a whole one.
        values = np.zeros(LATEST + 3)
        values[0] = values[-1] = self._count
        values[1] = len(self._latest)
        values[2 : 2 + len(self._latest)] = self._latest
        np.save(content, values)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(file, content.getbuffer(), 0)
            finally:
                os.close(file)
        except OSError as error:
            self._failed = True
            log.error("the returns of episodes are not written any more: %s", error)


def read_returns(folder: Path) -> Returns | None:
    """What the file in `folder` says; None where there is none, or none that is whole."""
    path = folder / RETURNS_FILE
    if not path.exists():
        return None  # before numpy is needed: a run's processes are to be started at once
    import numpy as np

    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if values.shape != (LATEST + 3,) or values[0] != values[-1]:
        return None
    return Returns(int(values[0]), values[2 : 2 + int(values[1])])
