"""`corral chaos`: a run whose processes are killed and frozen at random, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import (
    ExperimentFile,
    Folder,
    LogFormat,
    Overrides,
    Verbose,
    choose_logs,
)


def chaos(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="How long to go on, from the moment when everything works.")
    ] = 5.0,
    kills: Annotated[
        int, typer.Option(min=0, help="Stop after so many injuries, however much time is left; 0 for any number.")
    ] = 0,
    seed: Annotated[
        int, typer.Option(min=0, help="Seeds who is hit, how and when. The run's own: --set run.seed=N.")
    ] = 0,
    interval_s: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="Mean seconds from one injury to the next.")
    ] = 6.0,
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND,KIND...",
            help="What to do: kill, freeze, or each with a role, such as kill-server,freeze-actor. Roles: actor, "
            "server, learner.",
        ),
    ] = "kill,freeze",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON here too.")
    ] = None,
    folder: Folder = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, even on a terminal.")] = False,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Kill anything: train on this machine while actors, server and learner are killed and frozen at random.

    Starts a run as corral run does, and goes on past its target. Processes get SIGKILL, or SIGSTOP and SIGCONT some
    seconds later: three in four within 4 s, the fourth longer than server.lease_s. The report says what was done,
    how long recoveries took, which steps were lost, and whether everything held that must. A learner that is killed
    goes back to its last checkpoint: --set learner.checkpoint_every_s=5 makes that cheap.

    Exits with 0 when every invariant held, 1 when one did not or the run failed, 2 when the experiment cannot be
    run, 130 after Ctrl-C.
    """
    from corral.chaos.plan import kinds_of
    from corral.chaos.trial import run_chaos
    from corral.cli.options import with_options
    from corral.cli.run import require
    from corral.launch.errors import UserError
    from corral.launch.experiment import load_experiment

    chosen = kinds_of(kinds)
    require("keras", "gymnasium")
    choose_logs(verbose, log_format)
    loaded = load_experiment(experiment, with_options(overrides, {"run.folder": folder}))
    if loaded.policies:
        raise UserError("corral chaos keeps one policy's books: take an experiment without [policies]")
    raise typer.Exit(
        run_chaos(
            loaded,
            minutes=minutes,
            kills=kills,
            seed=seed,
            interval_s=interval_s,
            kinds=chosen,
            plain=plain,
            json_file=json_file,
        )
    )
