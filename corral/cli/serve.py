"""`corral serve`: any saved Keras model, served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from corral.cli import completion
from corral.cli.options import (
    Buckets,
    Insecure,
    Keys,
    LogFormat,
    MetricsPort,
    Trace,
    Verbose,
    bucket_sizes,
    choose_logs,
    timeout,
    trace_file,
    trace_seconds,
)
from corral.cli.progress import warming


def serve(
    policy: Annotated[
        Path, typer.Argument(metavar="POLICY", help="A model that Keras saved, such as policy.keras.")
    ],
    address: Annotated[str, typer.Option(help="Where clients connect.")] = "tcp://127.0.0.1:5555",
    max_size: Annotated[
        int | None,
        typer.Option(
            help="Most rows in one batch, and in one request. Default: 256, or fewer where rows are large."
        ),
    ] = None,
    timeout_us: Annotated[
        str,
        typer.Option(
            metavar="US|auto",
            help="Longest wait for a fuller batch, in microseconds; 0 never lets the model idle, "
            "auto learns what pays.",
        ),
    ] = "0",
    buckets: Buckets = None,
    keys: Keys = None,
    metrics_port: MetricsPort = None,
    insecure: Insecure = False,
    non_finite: Annotated[
        str,
        typer.Option(
            metavar="refuse|pass",
            help="Rows with NaN or infinity: refuse answers with an error, pass gives them to the model.",
            autocompletion=completion.one_of("refuse", "pass"),
        ),
    ] = "refuse",
    replicas: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Copies that compute side by side; auto: one on each accelerator."),
    ] = "1",
    precision: Annotated[
        str,
        typer.Option(
            metavar="float32|bfloat16|float16",
            help="What the model computes in.",
            autocompletion=completion.one_of("float32", "bfloat16", "float16"),
        ),
    ] = "float32",
    gpu_memory_mb: Annotated[int, typer.Option(help="Most memory of each GPU, in MB; 0: what it needs.")] = 0,
    length: Annotated[
        int,
        typer.Option(
            min=0,
            help="Length of whatever the model leaves open: tokens of a sequence, or pixels of an image's sides.",
        ),
    ] = 0,
    module: Annotated[
        str, typer.Option("--import", metavar="MODULE", help="Where layer classes of your own are.")
    ] = "",
    trace: Trace = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Serve a saved Keras model: `PolicyClient(address).infer(rows)` from any number of threads and processes."""
    from corral.launch.stopping import StopRequest
    from corral.protocol.sockets import remove_socket_files

    stop = StopRequest(last_act=remove_socket_files)
    stop.install()  # before anything slow

    from corral.launch.errors import UserError
    from corral.launch.logs import log_to_stderr
    from corral.launch.quiet import import_keras
    from corral.launch.recorder import recording
    from corral.launch.roles import exported, precision_refused, saved_agent
    from corral.launch.roles import serve as serve_until_stopped
    from corral.launch.scheduling import wake_without_preempting
    from corral.launch.settings import MetricsSettings
    from corral.launch.threads import choose_threads_for_file
    from corral.launch.view import say
    from corral.telemetry import Board
    from inference_server.settings import BatchingSettings, ServerSettings, size_for

    choose_logs(verbose, log_format)
    trace_s = trace_seconds(trace)
    log_to_stderr("server")
    try:
        sizes = () if buckets is None else tuple(bucket_sizes(buckets))
        most = max_size if max_size is not None else sizes[-1] if sizes else BatchingSettings.max_size
        batching = BatchingSettings(timeout_us=timeout(timeout_us), max_size=most, buckets=sizes)
        metrics = MetricsSettings(port=metrics_port or 0)
        settings = ServerSettings(
            address=address,
            insecure=insecure,
            non_finite=non_finite,  # type: ignore[arg-type]  # looked at by the settings
            batching=batching,
            replicas=int(replicas) if replicas.isdecimal() else replicas,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            gpu_memory_mb=gpu_memory_mb,
        )
    except ValueError as error:
        raise UserError(f"--{str(error).replace('_', '-', 1)}") from error
    if not policy.exists():
        raise UserError(f"{policy}: no such file; name a model that Keras saved, such as policy.keras")
    wake_without_preempting()
    choose_threads_for_file(policy)
    import_keras(gpu_memory_mb)
    from inference_server.server import InferenceServer

    board = Board()
    trace_to = recording("server", trace_file("server"), trace_s)
    with warming(f"loading {policy}") as warm, trace_to, precision_refused("--precision"):
        agent = saved_agent(policy, module, length)
        if max_size is None and not sizes:
            most = size_for(sum(leaf.nbytes for leaf in agent.spec.observation.values()))
            settings = replace(settings, batching=replace(batching, max_size=most))
        server = InferenceServer(settings, lambda: agent, seed=0, learner=None, keys=keys, board=board)
        with exported(metrics, board, "server"):
            code = serve_until_stopped(server, stop, lambda: say(f"serving {policy} at {server.address}"), warm)
    raise typer.Exit(code)
