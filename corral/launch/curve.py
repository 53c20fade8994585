"""The learning curve: mean return over environment steps, as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from corral.launch.folder import CURVE, write_whole
from corral.launch.metrics import read_metrics
from corral.launch.settings import RunSettings


def draw_curve(folder: Path, run: RunSettings) -> Path | None:
    """Draw the curve of the run in `folder` from its metrics, into it; None where no episode has ended yet.

    Raises `OSError` where it cannot be written.
    """
    points = _points(folder)
    if not points:
        return None
    from matplotlib.figure import Figure  # takes most of a second

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), linewidth=1.8)
    if run.target_return is not None:
        axes.axhline(run.target_return, linestyle="--", linewidth=1, color="grey", label="target")
        axes.legend(frameon=False)
    axes.set(title=folder.name, xlabel="environment steps", ylabel="mean return of the last 100 episodes")
    axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    write_whole(folder / CURVE, picture.getvalue())
    return folder / CURVE


def _points(folder: Path) -> list[tuple[float, float]]:
    """Steps and mean returns, ascending: what was done behind a checkpoint that a run went on from is left out."""
    points: list[tuple[float, float]] = []
    for line in reversed(read_metrics(folder)):
        if "mean_return" in line and (not points or line["env_steps"] < points[-1][0]):
            points.append((line["env_steps"], line["mean_return"]))
    return points[::-1]
