"""What charts show of one source, gathered from its figures; bounded, however long it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from corral.dashboard.history import WINDOW_S, Rate, Recent, Row, Spread, Thinned
from corral.launch.progress import number

MOST_LOSSES = 12
MOST_MARKS = 20
ONE_MARK_S = 4.0
"""Seconds within which changes are one, as while a slider is dragged."""

_TIMES = {
    "latency": ("latency_p50", "latency_p99"),
    "times": ("queue_p50", "queue_p99", "compute_p50", "compute_p99"),
}
_OVER_TIME = {"throughput": 1, "lag": 1} | {name: len(times) for name, times in _TIMES.items()}
"""Chart -> how many lines it has."""


class Drawn(NamedTuple):
    """The charts at one moment.

    Attributes:
      over_time: chart -> rows, in seconds before now; see `_OVER_TIME`.
      marks: when settings were changed, in seconds before now, and to what.
      batch_sizes: `(upper bound, percent of the batches)` of the last ten seconds.
      returns: `(environment steps, mean, lower, upper)` of the whole run: the band holds the mean with 95 %.
      losses: name -> `(environment steps, value)` of the whole run.
    """

    over_time: Mapping[str, list[Row]]
    marks: list[tuple[float, str]]
    batch_sizes: list[tuple[float, float]]
    returns: list[Row]
    losses: Mapping[str, list[Row]]


class Curves:
    """Takes figures in, in order. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._rate = Rate()
        self._over_time = {name: Recent(columns) for name, columns in _OVER_TIME.items()}
        self._sizes = Spread()
        self._returns = Thinned()
        self._losses: dict[str, Thinned] = {}
        self._marks: deque[tuple[float, str]] = deque(maxlen=MOST_MARKS)
        self._setting: tuple[Any, Any] | None = None

    def add_server(self, now: float, figures: Mapping[str, Any], lag: float | None) -> None:
        """What a server answered, and the policy lag that its learner told of last."""
        self._over_time["throughput"].add(now, [self._rate.of(now, number(figures, "rows"))])
        for name, times in _TIMES.items():
            known = figures if figures.get("rows") else {}  # percentiles of nothing are 0
            self._over_time[name].add(now, [number(known, f"{time}_ms") for time in times])
        self._over_time["lag"].add(now, [lag])
        self._sizes.add(now, figures.get("batch_rows_histogram"))
        self._mark(now, figures)

    def miss(self, now: float) -> None:
        """The server did not answer: a gap."""
        self._rate.of(now, None)
        self._sizes.add(now, None)
        for curve in self._over_time.values():
            curve.add(now, None)

    def add_training(self, figures: Mapping[str, Any]) -> None:
        """How training goes, as a learner, or a server without one that is known, tells it."""
        steps = number(figures, "env_steps")
        if not steps:
            return
        if figures.get("episodes"):
            self._returns.add(steps, _band(figures))
        for name, value in (figures.get("losses") or {}).items():
            self._add_loss(str(name), steps, value)

    def recall(self, lines: Iterable[Mapping[str, float]]) -> None:
        """What a run wrote of itself before anybody watched: lines of `metrics.jsonl`."""
        for line in lines:
            steps = number(line, "env_steps")
            if steps is None:
                continue
            if (mean := number(line, "mean_return")) is not None:
                self._returns.add(steps, [mean, None, None])
            for name, value in line.items():
                loss = name.removeprefix("training/")
                if loss != name:
                    self._add_loss(loss, steps, value)

    def drawn(self, now: float) -> Drawn:
        """Everything, as charts take it."""
        return Drawn(
            {name: curve.rows(now) for name, curve in self._over_time.items()},
            [(round(at - now, 2), text) for at, text in self._marks if now - at < WINDOW_S],
            self._sizes.shares(),
            self._returns.rows(),
            {name: curve.rows() for name, curve in self._losses.items()},
        )

    def _add_loss(self, name: str, steps: float, value: float) -> None:
        # "finite" is a flag: what is not finite is no curve anyway.
        if name != "finite" and (name in self._losses or len(self._losses) < MOST_LOSSES):
            self._losses.setdefault(name, Thinned(200)).add(steps, [value])

    def _mark(self, now: float, figures: Mapping[str, Any]) -> None:
        """Remember when a person changed something; not what a server that learns its timeout tries."""
        timeout = "auto" if figures.get("timeout_auto") else figures.get("timeout_us")
        setting = (timeout, figures.get("max_size"))
        if self._setting is not None and setting != self._setting:
            changed = []
            if setting[0] != self._setting[0]:
                changed.append("auto" if timeout == "auto" else timeout_text(number(figures, "timeout_us")))
            if setting[1] != self._setting[1]:
                changed.append(f"{setting[1]} rows")
            if self._marks and now - self._marks[-1][0] < ONE_MARK_S:
                self._marks.pop()
            self._marks.append((now, ", ".join(changed)))
        self._setting = setting


def timeout_text(timeout_us: float | None, *, auto: bool = False) -> str:
    """A batch timeout: "1.5 ms", "500 µs", "auto, now 200 µs"."""
    if timeout_us is None:
        return "-"
    text = f"{timeout_us:,.0f} µs" if timeout_us < 1_000 else f"{timeout_us / 1e3:g} ms"
    return f"auto, now {text}" if auto else text


def _band(figures: Mapping[str, Any]) -> list[float | None]:
    """Mean return, and the interval that holds it with 95 %: mean +- 1.96 standard errors."""
    mean, deviation, count = (number(figures, name) for name in ("mean_return", "return_std", "return_count"))
    if mean is None or deviation is None or not count:
        return [mean, None, None]
    half = 1.96 * deviation / count**0.5
    return [mean, mean - half, mean + half]
