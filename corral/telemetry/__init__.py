"""What every process tells of itself: figures under fixed names, whether it lives, whether it is ready.

Rooms fill a `Board`; an `Exporter` shows it to Prometheus. docs/metrics.md lists every name.
"""

from corral.telemetry.board import Board
from corral.telemetry.histogram import Histogram, HistogramSnapshot

__all__ = ["Board", "Histogram", "HistogramSnapshot"]
