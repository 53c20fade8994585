"""One source over time: asks its server and its learner every second, and remembers what charts show."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from corral.dashboard.curves import Curves, Drawn
from corral.dashboard.sources import Source, addresses_of, has_ended
from corral.launch.errors import UserError
from corral.launch.folder import EXPERIMENT, SUMMARY, life, read_json
from corral.launch.metrics import read_metrics
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.progress import number
from corral.telemetry.verdict import Judge, Verdict

log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""Seconds from one look at a source to the next."""
SILENT_S = 3.0
"""Seconds without an answer until the page says so."""


class Watch:
    """What is known of a source. Read from any thread.

    Args:
      fetch: as `StatusPoller` takes it.
      clock: seconds, monotonic.
      period_s: seconds from one look to the next.

    Attributes:
      server, learner: the newest figures; empty before the first answer. Several servers are seen as one.
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
        self._life = 0
        self._curves = Curves()
        self._judge = Judge()
        if source.folder is not None:
            self._curves.recall(read_metrics(source.folder))
        several = source.servers if len(source.servers) > 1 else ()
        self._poller = StatusPoller(source.addresses, fetch, period_s=period_s, listener=self.hear, servers=several)

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
                self._curves.add_training(figures)
        if figures is None and self.source.folder is not None:
            self._look_into(self.source.folder)

    @property
    def trains(self) -> bool:
        """Whether somebody learns from this server, rather than being served only."""
        return "learner" in self.source.addresses or bool(self.learner or number(self.server, "env_steps"))

    @property
    def sizes(self) -> list[int]:
        """The batch sizes that the server has compiled, ascending."""
        return sorted(map(int, self.server.get("compiled_sizes") or ()))

    def drawn(self) -> Drawn:
        """What charts show now."""
        with self._lock:
            return self._curves.drawn(self._clock())

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

    def _hear_server(self, now: float, figures: Mapping[str, Any] | None) -> None:
        if figures is None:
            self.verdict = None
            self._curves.miss(now)
            return
        # An answer to a command lists no actors.
        self.server = figures if "actor_table" in figures else {**figures, **_table_of(self.server)}
        self.verdict = self._judge.hear(figures, self.learner)
        self._curves.add_server(now, figures, number(self.learner, "policy_lag_p50"))
        if "learner" not in self.source.addresses:
            self._curves.add_training(figures)

    def _look_into(self, folder: Path) -> None:
        """A run that answers no more has ended, or goes on elsewhere."""
        begun = life(folder)
        if self._ended and begun == self._life:
            return  # to ask takes the folder's lock for a moment, which a run that is resumed needs
        ended, self._life = has_ended(self.source), begun
        with self._lock:
            self._ended = ended
        if not ended:
            try:
                self._poller.move(addresses_of(folder))
            except UserError as error:
                log.warning("%s", error)


def _table_of(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {"actor_table": figures["actor_table"]} if "actor_table" in figures else {}


def _target(folder: Path | None) -> float | None:
    if folder is None:
        return None
    try:
        run = json.loads((folder / EXPERIMENT).read_text()).get("run", {})
    except (OSError, ValueError):
        return None
    return number(run, "target_return")
