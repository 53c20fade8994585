"""The learning curve: mean return over environment steps, as a picture."""

from __future__ import annotations

import logging
from pathlib import Path

from corral.launch.folder import CURVE
from corral.launch.metrics import read_metrics
from corral.launch.settings import RunSettings

log = logging.getLogger(__name__)


def draw_curve(folder: Path, run: RunSettings) -> Path | None:
    """Draw the curve of the run in `folder` from its metrics, into it; None where no episode has ended yet."""
    points = [(line["env_steps"], line["mean_return"]) for line in read_metrics(folder) if "mean_return" in line]
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
    path = folder / CURVE
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        log.error("no learning curve could be written: %s", error)
        return None
    return path
