"""LEARNING.md's sections and pictures, made of what is kept of the runs and of what others published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from compare import put_between_marks
from intervals import median_interval, wilson
from learning_list import TASKS, Reference, Run, Task, references
from learning_records import Record, read_records

Points = Sequence[Sequence[float]]


def write_report(page: Path, records: Path) -> None:
    """Write the section of every task of which something is kept, between its marks in `page`, and its picture
    beside the records."""
    kept, published = read_records(records), references()
    for task in TASKS:
        names = [run.name for run in task.runs]
        found = [record for record in kept if record.run in names]
        if not found:
            continue
        about = [each for each in published if each.task == task.name]
        picture = draw(task, found, about, records)
        text = f"![{task.title}]({picture.parent.name}/{picture.name})\n\n" + section(task, found, about)
        page.write_text(put_between_marks(page.read_text(), text, marks(task)))


def marks(task: Task) -> tuple[str, str]:
    """Between what a task's section stands."""
    return f"<!-- learning:{task.name}:begin -->", f"<!-- learning:{task.name}:end -->"


def section(task: Task, records: list[Record], published: list[Reference]) -> str:
    """Commands, each seed, all seeds, and what others published."""
    runs = [run for run in task.runs if any(record.run == run.name for record in records)]
    own = {run.name: [record for record in records if record.run == run.name] for run in runs}
    commands = [f"- {run.label}: `{own[run.name][0].command}`" for run in runs]
    parts = ["\n".join(commands), _seeds(runs, own), _summary(runs, own)]
    compared = _compared(runs, own, published)
    return "\n\n".join(part for part in [*parts, compared] if part)


def _seeds(runs: list[Run], own: dict[str, list[Record]]) -> str:
    columns = [
        "run",
        "seed",
        "ended",
        "steps",
        "training steps",
        "wall",
        "resumed",
        "mean return",
        "greedy",
        "best",
    ]
    columns += ["policy lag", "learning, model, environments, evaluation"]
    lines = []
    for run in runs:
        for record in own[run.name]:
            ended = ("solved" if record.solved else "at its limit") if record.finished else "stopped"
            shares = ", ".join(f"{100 * share:.0f} %" for share in record.shares.values())
            lines.append(
                f"| {run.label} | {record.seed} | {ended} | {record.steps:,} | {record.training_steps:,} "
                f"| {_duration(record.wall_s)} | {record.resumptions} | {record.mean_return:.1f} "
                f"| {_played(record.greedy)} | {_played(record.best)} | {_lags(record)} | {shares} |"
            )
    return _table(columns, lines)


def _summary(runs: list[Run], own: dict[str, list[Record]]) -> str:
    """Over seeds; only of runs that have a target."""
    lines = []
    for run in runs:
        ended = [record for record in own[run.name] if record.finished]
        solved = [record for record in ended if record.solved]
        if not solved:
            continue
        low, high = wilson(len(solved), len(ended))
        steps = [float(record.steps) for record in solved]
        seconds = [record.wall_s for record in solved]
        lines.append(
            f"| {run.label} | {len(solved)} of {len(ended)} | {100 * low:.0f} to {100 * high:.0f} % "
            f"| {_median(steps)} | {_median(seconds)} |"
        )
    columns = ["run", "solved", "95 % interval", "median steps of those", "median seconds of those"]
    return _table(columns, lines) if lines else ""


def _compared(runs: list[Run], own: dict[str, list[Record]], published: list[Reference]) -> str:
    lines = []
    for run in runs:
        for each in published:
            reached = min(record.curve[-1][0] for record in own[run.name] if record.curve) if own[run.name] else 0
            if each.run != run.name or not reached:
                continue
            within = [point for point in each.points if point[0] <= reached] or each.points[:1]
            steps, value = within[-1]
            at = min(steps, reached)
            here, how = _at(own[run.name], at)
            lines.append(
                f"| {run.label} | [{each.label}]({each.source}) | {steps:,.0f} | {value:,.1f} | {at:,.0f} "
                f"| {here:,.1f} ({how}) | {here - value:+,.1f} | {each.note} |"
            )
    columns = ["run", "published", "at steps", "return", "here at", "return here", "difference", "of the published"]
    return _table(columns, lines) if lines else ""


def _at(records: list[Record], steps: float) -> tuple[float, str]:
    """The mean over seeds of what was reached by then, and how that was judged."""
    greedy = all(record.evaluations for record in records)
    curves = [record.evaluations if greedy else [point[::2] for point in record.curve] for record in records]
    values = [float(np.interp(steps, *zip(*(point[:2] for point in curve), strict=True))) for curve in curves]
    return statistics.fmean(values), "greedy, beside training" if greedy else "training episodes"


def draw(task: Task, records: list[Record], published: list[Reference], folder: Path) -> Path:
    """The picture of a task: every seed thin, the mean over seeds thick, what is published dashed or as a point;
    below it the policy lag."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes, lag = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    last = max(record.steps for record in records)
    for number, run in enumerate(task.runs):
        color, own = f"C{number}", [record for record in records if record.run == run.name and record.curve]
        for record in own:
            steps, _, returns, lags = zip(*record.curve, strict=True)
            axes.plot(steps, returns, color=color, alpha=0.35, linewidth=0.8)
            lag.plot(steps, lags, color=color, alpha=0.6, linewidth=0.8)
            if record.evaluations:
                at, greedy = zip(*(point[:2] for point in record.evaluations), strict=True)
                axes.plot(at, greedy, ".", color=color, alpha=0.3, markersize=3)
        if own:
            label = f"Corral {run.label}, {len(own)} seed{'s' * (len(own) > 1)}"
            axes.plot(*_mean(own), color=color, linewidth=2, label=label)
        for each in published:
            if each.run == run.name:
                _draw_published(axes, each, color, last)
    axes.set(title=task.title, ylabel="mean return")
    axes.legend(frameon=False, fontsize=7)
    unit = f" of {task.frames} frames" if task.frames > 1 else ""
    lag.set(xlabel=f"environment steps{unit}", ylabel="policy lag")
    for each in (axes, lag):
        each.grid(alpha=0.3)
        each.set_xlim(0, last)
    path = folder / f"{task.name}.png"
    figure.savefig(path, dpi=100)
    return path


def _draw_published(axes, each: Reference, color: str, last: float) -> None:  # type: ignore[no-untyped-def]
    steps, values = zip(*each.points, strict=True)
    if len(steps) > 1:
        axes.plot(steps, values, "--", color=color, linewidth=1.5, label=each.label)
    elif steps[0] <= last:
        axes.plot(steps, values, "D", color=color, markersize=5, label=f"{each.label} ({steps[0]:,})")
    else:  # beyond this picture's edge
        label = f"{each.label} (after {steps[0]:,} steps)"
        axes.axhline(values[0], linestyle=":", color=color, linewidth=1, alpha=0.8, label=label)


def _mean(records: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over seeds, as far as all of them have come."""
    begin = max(record.curve[0][0] for record in records)
    end = min(record.curve[-1][0] for record in records)
    steps = np.linspace(begin, max(begin, end), 200)
    curves = [list(zip(*record.curve, strict=True)) for record in records]
    return steps, np.mean([np.interp(steps, curve[0], curve[2]) for curve in curves], axis=0)


def _table(columns: list[str], lines: list[str]) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


def _played(figures: dict[str, float]) -> str:
    """The mean return of greedy episodes, with its standard error."""
    if not figures:
        return "-"
    error = figures["standard_error"]
    return f"{figures['mean_return']:.1f}" + ("" if error is None else f" +- {error:.1f}")


def _lags(record: Record) -> str:
    """The median policy lag of the curve's thirds."""
    lags = [point[3] for point in record.curve]
    thirds = [part for part in np.array_split(lags, 3) if len(part)]
    return ", ".join(f"{np.median(part):.1f}" for part in thirds)


def _median(values: list[float]) -> str:
    between = median_interval(values)
    interval = f" ({between[0]:,.0f} to {between[1]:,.0f})" if between else ""
    return f"{statistics.median(values):,.0f}{interval}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 3 else f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.1f} h"
