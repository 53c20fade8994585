"""`corral learner`: the learner of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import (
    ExperimentFile,
    Folder,
    Insecure,
    Keys,
    LogFormat,
    MetricsPort,
    Overrides,
    Policy,
    Seed,
    Trace,
    Verbose,
    choose_logs,
    for_policy,
    trace_seconds,
    with_options,
)


def learner(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    policy: Policy = None,
    unrolls_address: Annotated[str | None, typer.Option(help="Override learner.unrolls_address.")] = None,
    weights_address: Annotated[str | None, typer.Option(help="Override learner.weights_address.")] = None,
    keys: Keys = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
    seed: Seed = None,
    folder: Folder = None,
    run_folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The run's own folder, made where it is missing. A learner that finds checkpoints there goes on "
            "from the newest, so that it can be started again after a crash.",
        ),
    ] = None,
    ledgers: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the servers keep theirs (corral server --ledgers), to say at the end what was lost.",
        ),
    ] = None,
    trace: Trace = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Start the learner of a run: servers bring it unrolls and fetch weights from it.

    Exits with 0 when the target is reached or it was asked to stop, 1 at the step limit.
    """
    from corral.launch.stopping import StopRequest
    from corral.protocol.sockets import remove_socket_files

    stop = StopRequest(last_act=remove_socket_files)
    stop.install()  # before anything slow

    from corral.launch.experiment import load_experiment
    from corral.launch.folder import make_run_folder
    from corral.launch.logs import know, log_to_stderr
    from corral.launch.policies import trained_member
    from corral.launch.quiet import import_keras
    from corral.launch.recorder import TRACE, recording
    from corral.launch.threads import choose_threads_for
    from corral.launch.training import train

    choose_logs(verbose, log_format)
    trace_s = trace_seconds(trace)
    log_to_stderr("learner")
    options = {
        "learner.unrolls_address": unrolls_address,
        "learner.weights_address": weights_address,
        "learner.insecure": insecure or None,
        "security.keys": keys,
        "metrics.port": metrics_port,
        "run.seed": seed,
        "run.folder": folder,
    }
    options = for_policy(options, policy, lambda: load_experiment(experiment, overrides or []))
    loaded = trained_member(load_experiment(experiment, with_options(overrides, options)), policy).experiment
    know(run=loaded.run.name)
    choose_threads_for(loaded)
    import_keras(loaded.learner.gpu_memory_mb)
    where = run_folder or make_run_folder(loaded)
    with recording("learner", where / TRACE, trace_s):
        code = train(loaded, where, stop, experiment, ledgers)
    raise typer.Exit(code)
