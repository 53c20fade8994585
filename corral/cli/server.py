"""`corral server`: the inference server of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import (
    Buckets,
    ExperimentFile,
    Insecure,
    Keys,
    LogFormat,
    MaxSize,
    MetricsPort,
    Overrides,
    Policy,
    TimeoutUs,
    Trace,
    Verbose,
    batching_options,
    choose_logs,
    for_policy,
    trace_file,
    trace_seconds,
    with_options,
)
from corral.cli.progress import warming


def server(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    policy: Policy = None,
    address: Annotated[
        str | None, typer.Option(help="Where actors connect, in place of server.address, or of this server's own.")
    ] = None,
    number: Annotated[
        int, typer.Option(min=0, help="Which of the run's servers this one is, from 0, where there are several.")
    ] = 0,
    keys: Keys = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
    ledgers: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep count of the steps taken in, in a file there that outlives this process, however it ends.",
        ),
    ] = None,
    timeout_us: TimeoutUs = None,
    max_size: MaxSize = None,
    buckets: Buckets = None,
    trace: Trace = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Start the inference server of a run: it answers actors and takes its weights from the learner."""
    from corral.launch.stopping import StopRequest
    from corral.protocol.sockets import remove_socket_files

    stop = StopRequest(last_act=remove_socket_files)
    stop.install()  # before anything slow

    from corral.launch.cast import as_server, server_addresses
    from corral.launch.errors import UserError
    from corral.launch.experiment import load_experiment
    from corral.launch.logs import know, log_to_stderr
    from corral.launch.policies import member
    from corral.launch.quiet import import_keras
    from corral.launch.recorder import recording
    from corral.launch.roles import run_server
    from corral.launch.threads import choose_threads_for
    from corral.launch.view import say

    choose_logs(verbose, log_format)
    trace_s = trace_seconds(trace)
    log_to_stderr("server")
    options = {
        "server.insecure": insecure or None,
        "security.keys": keys,
        "metrics.port": metrics_port,
    }
    options |= batching_options(timeout_us, max_size, buckets)
    options = for_policy(options, policy, lambda: load_experiment(experiment, overrides or []))
    which = member(load_experiment(experiment, with_options(overrides, options)), policy)
    if number >= (count := len(server_addresses(which.experiment))):
        raise UserError(f"--number {number}: the experiment has {count} servers, numbered from 0; see servers")
    loaded = as_server(which.experiment, number)
    if address is not None:
        loaded = replace(loaded, server=replace(loaded.server, address=address))
    know(run=loaded.run.name)
    choose_threads_for(loaded)
    import_keras(loaded.server.gpu_memory_mb)
    with recording("server", trace_file("server"), trace_s), warming() as warm:
        serving = f"serving at {loaded.server.address}"
        which = replace(which, experiment=loaded)
        code = run_server(which, stop, lambda: say(serving), ledgers, on_warm=warm, number=number)
    raise typer.Exit(code)
