"""Rows per second over timeouts: as a table and bars for a terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from corral.bench.recommendation import Found, Setting
from corral.launch.errors import UserError

_WIDTH = 48
_PICTURES = (".pdf", ".png", ".svg")


def as_table(found: Sequence[Found], *, now: Setting | None, chosen: Setting) -> Table:
    """A row for each setting; `now` is the experiment's, None where it was not measured."""
    table = Table(box=None, pad_edge=False)
    for name in ("timeout us", "max size", "rows/s", "of best", "mean batch", "p50 ms", "p99 ms", ""):
        table.add_column(name, justify="right" if name else "left")
    best = max(each.typical for each in found)
    for each in found:
        marks = [name for name, setting in (("now", now), ("recommended", chosen)) if setting == each.setting]
        table.add_row(
            f"{each.setting.timeout_us:,}",
            f"{each.setting.max_size:,}",
            f"{each.typical:,.0f}",
            f"{each.typical / best:.0%}",
            f"{each.mean_batch:.1f}",
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            ", ".join(marks),
        )
    return table


def as_chart(found: Sequence[Found], *, blocks: bool = True) -> Table:
    """A bar from 0 for each setting: full to its slowest round, lighter to its fastest.

    Args:
      blocks: whether the terminal has Unicode's blocks; else letters are drawn.
    """
    full, light = ("█", "░") if blocks else ("#", "-")
    chart = Table.grid(padding=(0, 1))
    chart.add_column(justify="right")
    several = len({each.setting.max_size for each in found}) > 1
    most = max(max(each.rows_per_s) for each in found)
    for each in found:
        low, high = (round(rate(each.rows_per_s) / most * _WIDTH) for rate in (min, max))
        label = f"{each.setting.timeout_us:,} us" + (f", {each.setting.max_size:,}" if several else "")
        chart.add_row(label, f"{full * low}{light * (high - low)}", f"{each.typical:,.0f}")
    return chart


def check_picture(path: Path) -> None:
    """Raises `UserError` where `draw` could not write to `path`: said before anything is measured."""
    if path.suffix not in _PICTURES:
        raise UserError(f"--plot {path}: a picture's name ends in {', '.join(_PICTURES)}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--plot {path}: there is no folder {path.parent}")


def draw(found: Sequence[Found], path: Path, *, title: str, chosen: Setting) -> None:
    """Draw medians over timeouts, evenly spaced, a line for each size, with bars from slowest to fastest round."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    timeouts = sorted({each.setting.timeout_us for each in found})
    for size in sorted({each.setting.max_size for each in found}):
        line = [each for each in found if each.setting.max_size == size]
        middles = [each.typical for each in line]
        below = [each.typical - min(each.rows_per_s) for each in line]
        above = [max(each.rows_per_s) - each.typical for each in line]
        places = [timeouts.index(each.setting.timeout_us) for each in line]
        axes.errorbar(places, middles, (below, above), marker="o", capsize=3, label=f"max_size {size:,}")
    best = next(each for each in found if each.setting == chosen)
    axes.plot(timeouts.index(chosen.timeout_us), best.typical, "o", markersize=14, fillstyle="none", color="black",
              label="recommended")  # fmt: skip
    axes.set_xticks(range(len(timeouts)), [f"{timeout:,}" for timeout in timeouts])
    axes.set(title=title, xlabel="timeout_us", ylabel="rows per second")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
