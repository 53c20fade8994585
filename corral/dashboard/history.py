"""What the page remembers: bounded, however long a run takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

WINDOW_S = 300.0
"""Seconds that charts over time look back."""

Row: TypeAlias = tuple[float | None, ...]
"""Abscissa, and a value for each line; None leaves a gap."""


class Recent:
    """Rows of the last `window_s` seconds, `most` at most.

    Args:
      columns: how many values stand in a row behind the time.
    """

    def __init__(self, columns: int, window_s: float = WINDOW_S, most: int = 1_000) -> None:
        self._gap: Row = (None,) * columns
        self.window_s = window_s
        self._rows: deque[tuple[float, Row]] = deque(maxlen=most)

    def add(self, time_s: float, values: Sequence[float | None] | None) -> None:
        """What was read at `time_s`; None where nothing was."""
        self._rows.append((time_s, self._gap if values is None else tuple(values)))
        while self._rows[0][0] < time_s - self.window_s:
            self._rows.popleft()

    def rows(self, now_s: float) -> list[Row]:
        """Oldest first; the abscissa counts seconds before `now_s`, and so is negative."""
        return [
            (round(time_s - now_s, 2), *values) for time_s, values in self._rows if time_s >= now_s - self.window_s
        ]


class Thinned:
    """A whole curve in `most` rows at most: when it is full, every second row is left out, from then on too."""

    def __init__(self, most: int = 400) -> None:
        self._most = most
        self._stride = 1
        self._skipped = 0
        self._rows: list[Row] = []
        self._newest: Row | None = None

    def add(self, x: float, values: Sequence[float | None]) -> None:
        """The next row. An `x` before the last one's goes back, as a learner does to a checkpoint: what lies behind
        it is forgotten."""
        while self._rows and (last := self._rows[-1][0]) is not None and last >= x:
            self._rows.pop()
        self._newest = (x, *values)
        self._skipped += 1
        if self._skipped < self._stride and self._rows:
            return
        self._skipped = 0
        self._rows.append(self._newest)
        if len(self._rows) >= self._most:
            self._skipped = 0 if len(self._rows) % 2 else self._stride  # the last row goes, where they are even
            self._rows = self._rows[::2]
            self._stride *= 2

    def rows(self) -> list[Row]:
        """In order of the abscissa; the newest is always among them."""
        newest = [self._newest] if self._newest is not None and self._rows[-1:] != [self._newest] else []
        return self._rows + newest


class Rate:
    """How fast a counter grows; None where that is not known, as after its process was started anew.

    Args:
      least_s: seconds that a rate is taken over at least: what is read sooner, as the answer to a command is, has
        the rate of before.
    """

    def __init__(self, least_s: float = 0.5) -> None:
        self._least_s = least_s
        self._before: tuple[float, float] | None = None
        self._rate: float | None = None

    def of(self, time_s: float, count: float | None) -> float | None:
        """Per second since the reading before this one."""
        before = self._before
        if before is not None and count is not None and count >= before[1] and time_s < before[0] + self._least_s:
            return self._rate
        self._before = None if count is None else (time_s, count)
        self._rate = None
        if before is not None and count is not None and count >= before[1]:
            self._rate = (count - before[1]) / (time_s - before[0])
        return self._rate


class Spread:
    """A distribution over the last seconds, from counts since the start.

    Args:
      window_s: seconds to look back.
    """

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, dict[float, int]]] = deque(maxlen=64)

    def add(self, time_s: float, counts: Sequence[Sequence[float]] | None) -> None:
        """`[upper bound, count]` of each class, counted since the start; None where nothing was read."""
        if counts is None:
            self._readings.clear()
            return
        now = {float(bound): int(count) for bound, count in counts}
        if self._readings and sum(now.values()) < sum(self._readings[-1][1].values()):
            self._readings.clear()  # counted anew: it is another process
        self._readings.append((time_s, now))
        while len(self._readings) > 2 and self._readings[1][0] <= time_s - self._window_s:
            self._readings.popleft()

    def shares(self) -> list[tuple[float, float]]:
        """`(upper bound, percent)` of each class between the first and the last that occurred; empty for none."""
        if len(self._readings) < 2:
            return []
        before, now = self._readings[0][1], self._readings[-1][1]
        grown = {bound: count - before.get(bound, 0) for bound, count in sorted(now.items())}
        total = sum(grown.values())
        met = [bound for bound, count in grown.items() if count > 0]
        if not met:
            return []
        return [(bound, 100 * count / total) for bound, count in grown.items() if met[0] <= bound <= met[-1]]
