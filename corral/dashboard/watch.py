"""One source over time: asks its server and its learner every second, and remembers what charts show."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from corral.dashboard.history import Rate, Recent, Row, Spread, Thinned
from corral.dashboard.sources import Source, addresses_of, has_ended
from corral.launch.errors import UserError
from corral.launch.folder import EXPERIMENT, SUMMARY, read_json
from corral.launch.metrics import read_metrics
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.progress import number
from corral.telemetry.verdict import Judge, Verdict

log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""Seconds from one look at a source to the next."""
SILENT_S = 3.0
"""Seconds without an answer until the page says so."""
MOST_LOSSES = 12
MOST_MARKS = 20
ONE_MARK_S = 4.0
"""Seconds within which changes are one, as while a slider is dragged."""


class Watch:
    """What is known of a source. Read from any thread.

    Args:
      fetch: as `StatusPoller` takes it.
      clock: seconds, monotonic.
      period_s: seconds from one look to the next.

    Attributes:
      server, learner: the newest figures; empty before the first answer.
      verdict: what holds this source up, by its last seconds; None where that is not known.
      target: the mean return that the run wants to reach, where that is known.
    """

    def __init__(
        self,
        source: Source,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self.source = source
        self.server: Mapping[str, Any] = {}
        self.learner: Mapping[str, Any] = {}
        self.verdict: Verdict | None = None
        self.target = _target(source.folder)
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._heard: dict[str, float] = {}
        self._ended = False
        self._compiled: set[int] = set()
        self._rate = Rate()
        self._curves = {name: Recent(columns) for name, columns in _OVER_TIME.items()}
        self._sizes = Spread()
        self._returns = Thinned()
        self._losses: dict[str, Thinned] = {}
        self._marks: deque[tuple[float, str]] = deque(maxlen=MOST_MARKS)
        self._setting: tuple[Any, Any] | None = None
        self._judge = Judge()
        self._recall()
        self._poller = StatusPoller(source.addresses, fetch, period_s=period_s, listener=self.hear)

    def start(self) -> None:
        """Begin to ask."""
        self._poller.start()

    def stop(self) -> None:
        """Ask no more."""
        self._poller.stop()

    def hear(self, role: str, figures: Mapping[str, Any] | None) -> None:
        """What "server" or "learner" answered just now; None for silence."""
        now = self._clock()
        if figures is not None and figures.get("role") == "learner":
            role = "learner"  # whoever named an address may have meant a learner's
        with self._lock:
            if figures is not None:
                self._heard[role] = now
                self._ended = False
            if role == "server":
                self._hear_server(now, figures)
            elif figures is not None:
                self.learner = figures
                self._add_training(figures)
        if figures is None and self.source.folder is not None:
            self._look_into(self.source.folder)

    @property
    def trains(self) -> bool:
        """Whether somebody learns from this server, rather than being served only."""
        return "learner" in self.source.addresses or bool(number(self.server, "env_steps"))

    @property
    def sizes(self) -> list[int]:
        """The batch sizes that the server has compiled, as far as they are known."""
        with self._lock:
            return sorted(self._compiled)

    def silent_s(self, role: str) -> float:
        """Seconds since "server" or "learner" answered, or since somebody began to ask."""
        return self._clock() - self._heard.get(role, self._began)

    def heard(self, role: str) -> bool:
        """Whether "server" or "learner" has ever answered."""
        return role in self._heard

    @property
    def ended(self) -> bool:
        """Whether it is a run that goes on no more."""
        return self._ended

    def summary(self) -> dict[str, Any]:
        """What a run that has ended came to; empty where nobody wrote it down."""
        return read_json(self.source.folder / SUMMARY) if self.source.folder else {}

    def curve(self, name: str) -> list[Row]:
        """Rows of one chart over time; see `_OVER_TIME`."""
        with self._lock:
            return self._curves[name].rows(self._clock())

    def marks(self) -> list[tuple[float, str]]:
        """When settings were changed, in seconds from now, and to what."""
        now, past = self._clock(), self._curves["throughput"].window_s
        with self._lock:
            return [(round(at - now, 2), text) for at, text in self._marks if now - at < past]

    def batch_sizes(self) -> list[tuple[float, float]]:
        """`(upper bound, percent of the batches)` of the last ten seconds."""
        with self._lock:
            return self._sizes.shares()

    def returns(self) -> list[Row]:
        """`(environment steps, mean, lower, upper)` of the whole run: the band holds the mean with 95 %."""
        with self._lock:
            return self._returns.rows()

    def losses(self) -> dict[str, list[Row]]:
        """Name -> `(environment steps, value)` of the whole run."""
        with self._lock:
            return {name: curve.rows() for name, curve in self._losses.items()}

    def _hear_server(self, now: float, figures: Mapping[str, Any] | None) -> None:
        if figures is None:
            self._rate.of(now, None)
            self._sizes.add(now, None)
            self.verdict = None
            for curve in self._curves.values():
                curve.add(now, None)
            return
        # An answer to a command lists no actors.
        self.server = figures if "actor_table" in figures else {**figures, **_table_of(self.server)}
        self._compiled |= {int(size) for size in figures.get("compiled_sizes") or figures.get("buckets") or ()}
        self._curves["throughput"].add(now, [self._rate.of(now, number(figures, "rows"))])
        for name, times in _TIMES.items():
            known = figures if figures.get("rows") else {}  # percentiles of nothing are 0
            self._curves[name].add(now, [number(known, f"{time}_ms") for time in times])
        self._curves["lag"].add(now, [number(self.learner, "policy_lag_p50")])
        self._sizes.add(now, figures.get("batch_rows_histogram"))
        self._mark(now, figures)
        self.verdict = self._judge.hear(figures, self.learner)
        if "learner" not in self.source.addresses:
            self._add_training(figures)

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

    def _add_training(self, figures: Mapping[str, Any]) -> None:
        steps = number(figures, "env_steps")
        if not steps:
            return
        if figures.get("episodes"):
            self._returns.add(steps, _band(figures))
        for name, value in (figures.get("losses") or {}).items():
            self._add_loss(str(name), steps, value)

    def _add_loss(self, name: str, steps: float, value: float) -> None:
        # "finite" is a flag: what is not finite is no curve anyway.
        if name != "finite" and (name in self._losses or len(self._losses) < MOST_LOSSES):
            self._losses.setdefault(name, Thinned(200)).add(steps, [value])

    def _recall(self) -> None:
        """What a run's folder remembers of the time before anybody watched."""
        for line in read_metrics(self.source.folder) if self.source.folder else ():
            steps = number(line, "env_steps")
            if steps is None:
                continue
            if (mean := number(line, "mean_return")) is not None:
                self._returns.add(steps, [mean, None, None])
            for name, value in line.items():
                loss = name.removeprefix("training/")
                if loss != name:
                    self._add_loss(loss, steps, value)

    def _look_into(self, folder: Path) -> None:
        """A run that answers no more has ended, or goes on elsewhere."""
        ended = has_ended(self.source)
        with self._lock:
            self._ended = ended
        if not ended:
            try:
                self._poller.move(addresses_of(folder))
            except UserError as error:
                log.warning("%s", error)


_TIMES = {
    "latency": ("latency_p50", "latency_p99"),
    "times": ("queue_p50", "queue_p99", "compute_p50", "compute_p99"),
}
_OVER_TIME = {"throughput": 1, "lag": 1} | {name: len(times) for name, times in _TIMES.items()}
"""Chart -> how many lines it has."""


def timeout_text(timeout_us: float | None, *, auto: bool = False) -> str:
    """A batch timeout: "1.5 ms", "500 µs", "auto, now 200 µs"."""
    if timeout_us is None:
        return "-"
    text = f"{timeout_us:,.0f} µs" if timeout_us < 1_000 else f"{timeout_us / 1e3:g} ms"
    return f"auto, now {text}" if auto else text


def _table_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {"actor_table": figures["actor_table"]} if "actor_table" in figures else {}


def _band(figures: Mapping[str, Any]) -> list[float | None]:
    """Mean return, and the interval that holds it with 95 %: mean +- 1.96 standard errors."""
    mean, deviation, count = (number(figures, name) for name in ("mean_return", "return_std", "return_count"))
    if mean is None or deviation is None or not count:
        return [mean, None, None]
    half = 1.96 * deviation / count**0.5
    return [mean, mean - half, mean + half]


def _target(folder: Path | None) -> float | None:
    if folder is None:
        return None
    try:
        run = json.loads((folder / EXPERIMENT).read_text()).get("run", {})
    except (OSError, ValueError):
        return None
    return number(run, "target_return")
