"""Whoever watches a run: shows it to a person, and writes its figures down."""

from __future__ import annotations

from pathlib import Path

from corral.launch.metrics import MetricsLog, load_sink
from corral.launch.progress import Progress
from corral.launch.view import View

PERIOD_S = 0.25
"""Seconds between two looks at a run."""


class Watcher:
    """Tell it how the run stands, every `PERIOD_S`.

    Args:
      folder: the run's.
      sink: as `metrics.sink` names it.

    Raises:
      UserError: there is no such sink.
    """

    def __init__(self, folder: Path, view: View, sink: str = "") -> None:
        self.view = view
        self._metrics = MetricsLog(folder, load_sink(sink))
        self._show_at_s = 0.0

    def tell(self, progress: Progress) -> None:
        """How the run stands now."""
        self._metrics.record(progress)
        if progress.elapsed_s >= self._show_at_s:
            self._show_at_s = progress.elapsed_s + self.view.period_s
            self.view.show(progress)

    def end(self, progress: Progress) -> None:
        """How the run stood at its end."""
        self._metrics.record(progress, last=True)
