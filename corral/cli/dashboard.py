"""`corral dashboard`: a live page of running servers and runs, which also steers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli.options import Keys, LearnerAddress, LogFormat, Verbose, Wheres, choose_logs


def dashboard(
    where: Wheres = None,
    learner: LearnerAddress = None,
    file: Annotated[
        Path | None,
        typer.Option(help="The experiment file that settings are written to, where it is not known from the run."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Others than loopback need the token for reading too.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port; 5580, or the next that is free, unless named.")
    ] = None,
    keys: Keys = None,
    verbose: Verbose = False,
    log_format: LogFormat = None,
) -> None:
    """Serve one live page: throughput, latency, batches, returns, losses, actors, and what holds the run up.

    Whoever has the printed address, which ends with a token, can steer too: batch timeout and largest batch at once
    and into the experiment file, pause learning, save a checkpoint, drain. Without the token the page shows only.
    """
    from corral.launch.errors import UserError
    from corral.launch.stopping import StopRequest

    stop = StopRequest()
    stop.install()

    from corral.dashboard.serve import serve
    from corral.dashboard.sources import find_sources
    from corral.launch.logs import log_to_stderr
    from corral.launch.view import say

    choose_logs(verbose, log_format)
    log_to_stderr("dashboard")
    if file is not None and not file.is_file():
        raise UserError(f"{file}: no such file")
    sources = find_sources(where or [], learner=learner, file=file)
    names = ", ".join(source.name for source in sources)
    serve(
        sources,
        stop,
        host=host,
        port=port,
        keys=keys,
        on_start=lambda address: say(f"{names}: {address}"),
    )
    raise typer.Exit(stop.exit_code)
