"""`corral actor`: one actor process of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import (
    ExperimentFile,
    Keys,
    LogFormat,
    MetricsPort,
    Overrides,
    Seed,
    Trace,
    Verbose,
    choose_logs,
    trace_file,
    trace_seconds,
    with_options,
)


def actor(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            envvar="CORRAL_SERVER_ADDRESS",
            help="Where the server answers, in place of server.address and servers: tcp://HOST:PORT or HOST (port "
            "5555). Repeat it, or put commas between, for several servers, which share the actors. With several "
            "policies it is the first one's, the others' follow; POLICY=ADDRESS says where a policy's is.",
        ),
    ] = None,
    environments: Annotated[int | None, typer.Option(help="Override actor.environments.")] = None,
    first_environment: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The run-wide number of this actor's first environment, which seeds it: no two may share one. "
            "Without it the server gives the lowest numbers that are free.",
        ),
    ] = None,
    keys: Keys = None,
    metrics_port: MetricsPort = None,
    seed: Seed = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file that exists while this actor has a session: for health checks."),
    ] = None,
    trace: Trace = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Start one actor: it steps environments with the actions of the server's policy."""
    from corral.launch.stopping import StopRequest

    stop = StopRequest()
    stop.install()  # before anything slow

    from corral.launch.experiment import load_experiment
    from corral.launch.logs import know, log_to_stderr
    from corral.launch.policies import at_servers
    from corral.launch.readiness import ready_mark
    from corral.launch.recorder import recording
    from corral.launch.roles import run_actor

    choose_logs(verbose, log_format)
    trace_s = trace_seconds(trace)
    log_to_stderr("actor")
    options = {
        "actor.environments": environments,
        "run.seed": seed,
        "security.keys": keys,
        "metrics.port": metrics_port,
    }
    loaded = at_servers(load_experiment(experiment, with_options(overrides, options)), server or [])
    know(run=loaded.run.name)
    with recording("actor", trace_file("actor"), trace_s):
        code = run_actor(loaded, stop, first_environment=first_environment, on_session=ready_mark(ready_file))
    raise typer.Exit(code)
