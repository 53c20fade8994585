"""`corral server`: the inference server of a run."""

from __future__ import annotations

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
    TimeoutUs,
    Trace,
    Verbose,
    batching_options,
    choose_logs,
    trace_file,
    trace_seconds,
    with_options,
)
from corral.cli.progress import warming


def server(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    address: Annotated[str | None, typer.Option(help="Override server.address: where actors connect.")] = None,
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

    from corral.launch.experiment import load_experiment
    from corral.launch.logs import know, log_to_stderr
    from corral.launch.quiet import import_keras
    from corral.launch.recorder import recording
    from corral.launch.roles import run_server
    from corral.launch.threads import choose_threads_for
    from corral.launch.view import say

    choose_logs(verbose, log_format)
    trace_s = trace_seconds(trace)
    log_to_stderr("server")
    options = {
        "server.address": address,
        "server.insecure": insecure or None,
        "security.keys": keys,
        "metrics.port": metrics_port,
    }
    options |= batching_options(timeout_us, max_size, buckets)
    loaded = load_experiment(experiment, with_options(overrides, options))
    know(run=loaded.run.name)
    choose_threads_for(loaded)
    import_keras()
    with recording("server", trace_file("server"), trace_s), warming() as warm:
        code = run_server(loaded, stop, lambda: say(f"serving at {loaded.server.address}"), ledgers, on_warm=warm)
    raise typer.Exit(code)
