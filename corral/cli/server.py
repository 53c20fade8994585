"""`corral server`: the inference server of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli.options import ExperimentFile, Insecure, Overrides, with_options


def server(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    address: Annotated[str | None, typer.Option(help="Override server.address: where actors connect.")] = None,
    insecure: Insecure = False,
) -> None:
    """Start the inference server of a run: it answers actors and takes its weights from the learner."""
    from corral.launch.experiment import load_experiment
    from corral.launch.quiet import import_keras
    from corral.launch.roles import run_server
    from corral.launch.stopping import StopRequest
    from corral.launch.view import say

    options = {"server.address": address, "server.insecure": insecure or None}
    loaded = load_experiment(experiment, with_options(overrides, options))
    stop = StopRequest()
    stop.install()
    import_keras()
    raise typer.Exit(run_server(loaded, stop, lambda: say(f"serving at {loaded.server.address}")))
