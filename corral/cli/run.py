"""`corral run`: a whole run on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import ExperimentFile, Folder, Overrides, Seed, with_options


def run(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    summary: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON here too.")] = None,
    seed: Seed = None,
    folder: Folder = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, even on a terminal.")] = False,
) -> None:
    """Train on this machine: starts a server, a learner and actors, and ends them all.

    Exits with 0 when the target is reached, 1 when it is not within the step limit or a process failed,
    2 when the experiment cannot be run, 130 after Ctrl-C.
    """
    from corral.launch.experiment import load_experiment
    from corral.launch.local import run_locally

    _require("keras", "gymnasium")
    loaded = load_experiment(experiment, with_options(overrides, {"run.seed": seed, "run.folder": folder}))
    raise typer.Exit(run_locally(loaded, summary=summary, plain=plain))


def _require(*modules: str) -> None:
    """Fail here and now, in place of in a process that was started for nothing."""
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
