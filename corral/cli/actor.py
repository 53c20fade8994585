"""`corral actor`: one actor process of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli.options import ExperimentFile, Overrides, Seed, with_options


def actor(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    server: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Override server.address: where the server answers.")
    ] = None,
    environments: Annotated[int | None, typer.Option(help="Override actor.environments.")] = None,
    first_environment: Annotated[
        int,
        typer.Option(min=0, help="The run-wide number of this actor's first environment: no two may share one."),
    ] = 0,
    seed: Seed = None,
) -> None:
    """Start one actor: it steps environments with the actions of the server's policy."""
    from corral.launch.experiment import load_experiment
    from corral.launch.roles import run_actor
    from corral.launch.stopping import StopRequest

    options = {"server.address": server, "actor.environments": environments, "run.seed": seed}
    loaded = load_experiment(experiment, with_options(overrides, options))
    stop = StopRequest()
    stop.install()
    raise typer.Exit(run_actor(loaded, stop, first_environment=first_environment))
