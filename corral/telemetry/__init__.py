"""What every process tells of itself: figures under fixed names, whether it lives, whether it is ready.

Rooms fill a `Board`, an `Exporter` shows it to Prometheus, and docs/metrics.md lists every name. A `Judge` says
what holds a run back. Nothing is imported until it is asked for.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
