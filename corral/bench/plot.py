"""Latency against throughput, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corral.bench.result import Result


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw p50 and p99 against answers per second, a point for each result, in the order they were measured.

    The picture's kind follows from the file's ending, such as .png or .svg.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    rates = [result.answers_per_s for result in results]
    for name, values in (("p50", [r.p50_ms for r in results]), ("p99", [r.p99_ms for r in results])):
        axes.plot(rates, values, marker="o", label=name)
    for result in results:
        axes.annotate(_label(result, results), (result.answers_per_s, result.p99_ms), fontsize=7, xytext=(4, 4),
                      textcoords="offset points")  # fmt: skip
    axes.set_xlabel("answers per second")
    axes.set_ylabel("latency, ms")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_title(f"{results[0].model}, {results[0].request.upper()}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _label(result: Result, results: Sequence[Result]) -> str:
    """What sets this point apart from the others."""
    names = ("clients", "processes", "rows", "timeout_us", "max_size", "rate", "transport", "request", "think_us")
    differing = [name for name in names if len({getattr(each, name) for each in results}) > 1]
    return ", ".join(f"{name} {getattr(result, name)}" for name in differing)
