"""The folder of one run: its experiment, logs, checkpoints, policy, result and summary."""

from __future__ import annotations

import time
from pathlib import Path

from corral.launch.experiment import Experiment

EXPERIMENT = "experiment.json"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
POLICY = "policy.keras"


def make_run_folder(experiment: Experiment) -> Path:
    """A new folder `<run.folder>/<run.name>-<time>` with the effective experiment and `logs/` in it.

    Raises `OSError` where it cannot be made.
    """
    parent = Path(experiment.run.folder)
    parent.mkdir(parents=True, exist_ok=True)
    stamp = f"{experiment.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    (folder / "logs").mkdir()
    experiment.write_effective(folder / EXPERIMENT)
    return folder
