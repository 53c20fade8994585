"""`corral export`: the policy of a run for others to serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import completion
from corral.cli.options import Best, Policy, RunFolder
from corral.cli.progress import PATIENCE_S, progress


def export(
    run: RunFolder,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="keras|savedmodel",
            help="keras: one file, for Keras and corral serve. savedmodel: a folder, for TensorFlow and TensorFlow "
            "Serving. Not onnx: docs/results.md says why.",
            autocompletion=completion.one_of("keras", "savedmodel"),
        ),
    ],
    policy: Policy = None,
    best: Best = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where to write it; RUN/export/policy.keras or RUN/export/savedmodel/1 if left out.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier export.")] = False,
) -> None:
    """Write the trained policy of a run in a form that others serve: observations in, the greedy action out."""
    from rich.console import Console

    from corral.launch.export import export_policy
    from corral.launch.policies import policy_folder
    from corral.launch.view import say

    with progress(Console(stderr=True), every_s=PATIENCE_S) as tell:
        path = export_policy(policy_folder(run, policy), form, output, best=best, force=force, say=tell)
    say(f"wrote {path}")
