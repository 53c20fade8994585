"""What a run's evaluator found, as it stands in the run's folder: a JSON object a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.launch.folder import EVALUATIONS, read_lines

log = logging.getLogger(__name__)


class Evaluations:
    """The evaluations of the run in `folder`, written by its evaluator and read by whoever shows them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVALUATIONS
        self._read = self._path.stat().st_size if self._path.exists() else 0

    def add(self, figures: Mapping[str, Any]) -> None:
        """Write one down. A disk that is full costs the figures, never the evaluator."""
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(dict(figures)) + "\n")
        except OSError as error:
            log.error("an evaluation could not be written to %s: %s", self._path, error)

    def news(self) -> list[str]:
        """Those since the last call, a sentence each."""
        try:
            with self._path.open() as file:
                file.seek(self._read)
                lines = [line for line in file if line.endswith("\n")]
        except OSError:
            return []
        self._read += sum(len(line.encode()) for line in lines)
        return [_told(json.loads(line)) for line in lines]


def best_evaluation(folder: Path) -> dict[str, Any]:
    """The evaluation whose policy is the run's `best_policy.keras`; nothing where there is none."""
    return next((line for line in reversed(read_lines(folder / EVALUATIONS)) if line.get("kept")), {})


def _told(figures: Mapping[str, Any]) -> str:
    error = figures.get("standard_error")
    spread = "" if error is None else f" +- {error:,.1f}"
    return (
        f"evaluation of policy {figures['policy_version']}: mean return {figures['mean_return']:,.1f}{spread} "
        f"({figures['episodes']} greedy episodes)"
    )
