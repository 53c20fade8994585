"""`corral run`: a whole run on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from corral.cli import completion
from corral.cli.options import (
    Buckets,
    Folder,
    LogFormat,
    MaxSize,
    MetricsPort,
    Overrides,
    RayAddress,
    Seed,
    TimeoutUs,
    Trace,
    Verbose,
    batching_options,
    choose_logs,
    trace_seconds,
    with_options,
)


def run(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            show_default=False,
            help="The experiment file, such as examples/cartpole.toml; left out with --resume.",
            autocompletion=completion.experiments,
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with the run in this folder, from its newest checkpoint and with its own configuration.",
            autocompletion=completion.runs,
        ),
    ] = None,
    summary: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON here too.")] = None,
    seed: Seed = None,
    folder: Folder = None,
    timeout_us: TimeoutUs = None,
    max_size: MaxSize = None,
    buckets: Buckets = None,
    metrics_port: MetricsPort = None,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard", help="Serve a live page of the run (docs/dashboard.md), and print its address."
        ),
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, even on a terminal.")] = False,
    trace: Trace = None,
    on: Annotated[
        str,
        typer.Option(
            metavar="local|ray",
            help="Where: on this machine, or on a Ray cluster (docs/ray.md).",
            autocompletion=completion.one_of("local", "ray"),
        ),
    ] = "local",
    ray_address: RayAddress = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Train on this machine, or on a Ray cluster: starts a server, a learner and actors, and ends them all.

    Exits with 0 when the target is reached, 1 when it is not within the step limit or a process failed,
    2 when the experiment cannot be run, 130 after Ctrl-C.
    """
    from corral.launch.errors import UserError
    from corral.launch.experiment import load_experiment
    from corral.launch.folder import check_resumable, experiment_file
    from corral.launch.local import run_locally

    if on not in ("local", "ray"):
        raise UserError(f"--on {on}: must be local or ray")
    if on == "local" and ray_address is not None:
        raise UserError("--ray-address is for --on ray")
    if on == "ray" and (dashboard or trace is not None):
        raise UserError(
            "--dashboard and --trace are for runs on this machine; beside a run on Ray, "
            "corral dashboard RUN --keys RUN/keys shows the page"
        )
    if experiment is not None and resume is not None:
        raise UserError("name an experiment file or --resume and a run's folder, not both: a run has its own")
    if experiment is None and resume is None:
        raise UserError("name an experiment file, such as examples/cartpole.toml, or --resume and a run's folder")
    trace_s = trace_seconds(trace)
    require("keras", "gymnasium", *(["nicegui"] if dashboard else []))
    choose_logs(verbose, log_format)
    options = {
        "run.seed": seed,
        "run.folder": folder,
        "metrics.port": metrics_port,
        **batching_options(timeout_us, max_size, buckets),
    }
    file = experiment
    if resume is not None:
        file = experiment_file(resume)
        check_resumable(resume)
    assert file is not None
    loaded = load_experiment(file, with_options(overrides, options))
    if on == "ray":
        require("ray")
        from corral.cluster.run import run_on_ray

        raise typer.Exit(
            run_on_ray(
                loaded,
                address=ray_address or "",
                resume=resume,
                summary=summary,
                plain=plain,
                source=experiment,
            )
        )
    companion = None
    if dashboard:
        from corral.dashboard.companion import DashboardCompanion

        companion = DashboardCompanion()
    raise typer.Exit(
        run_locally(
            loaded,
            resume=resume,
            summary=summary,
            plain=plain,
            companion=companion,
            source=experiment,
            trace_s=trace_s,
        )
    )


def require(*modules: str) -> None:
    """Fail here and now, in place of in a process that was started for nothing."""
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
