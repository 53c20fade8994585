"""`corral bench`: a load generator that also measures what the machine allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli.options import Keys
from corral.cli.progress import progress

if TYPE_CHECKING:
    from corral.bench.result import Result
    from corral.bench.sweep import Conditions, Plan

_SWEEP = " Several, separated by commas, are measured one after the other."


def bench(
    model: Annotated[
        str, typer.Option(help="mlp or nature_cnn (references), a saved model (.keras), or an experiment (.toml).")
    ] = "mlp",
    server: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="Ask this running server (INFER only) instead of starting one."),
    ] = None,
    keys: Keys = None,
    request: Annotated[
        str | None,
        typer.Option(
            help="step: sessions, unrolls and a learner that takes them; infer: stateless. Default: "
            "step where the model can." + _SWEEP
        ),
    ] = None,
    clients: Annotated[str, typer.Option(help="Connections, each with one request outstanding." + _SWEEP)] = "64",
    processes: Annotated[
        str | None,
        typer.Option(help="Processes that the clients are spread over; 2 where there are so many." + _SWEEP),
    ] = None,
    rows: Annotated[str, typer.Option(help="Observations in one request." + _SWEEP)] = "1",
    rate: Annotated[
        str,
        typer.Option(
            help="Requests per second of all clients together, however long answers take (open loop: latency "
            "counts from when a request was due). 0: each client asks as soon as it is answered." + _SWEEP
        ),
    ] = "0",
    think_us: Annotated[
        str, typer.Option(help="Microseconds that a client takes from an answer to its next request." + _SWEEP)
    ] = "0",
    idle: Annotated[
        str, typer.Option(help="Actors beside the clients that are connected and ask for nothing." + _SWEEP)
    ] = "0",
    push_every: Annotated[
        float,
        typer.Option(
            min=0,
            help="Push weights every so many seconds, and check every answer (of STEP: its version); 0: never.",
        ),
    ] = 0.0,
    transport: Annotated[str, typer.Option(help="ipc, tcp, or curve: tcp with keys." + _SWEEP)] = "ipc",
    timeout_us: Annotated[
        str, typer.Option(help="The server's longest wait for a fuller batch, in microseconds, or auto." + _SWEEP)
    ] = "0",
    max_size: Annotated[str, typer.Option(help="The server's largest batch." + _SWEEP)] = "256",
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds of each measurement.")] = 5.0,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each row; medians are printed.")] = 1,
    pin: Annotated[
        bool, typer.Option("--pin", help="The server on the first core, the clients on the others.")
    ] = False,
    floors: Annotated[
        bool, typer.Option(help="Measure the sockets alone and the model alone too, for comparison.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw latency against throughput.")] = None,
) -> None:
    """Measure how fast a server answers, beside what sockets and model alone would allow.

    Starts a server, a learner that takes its unrolls, and clients; each client sends a request, waits for the
    answer, and sends the next. Every figure is what clients saw. With --server, a running server is asked instead.
    """
    import json
    from dataclasses import replace

    from corral.bench.machine import describe_machine
    from corral.bench.sweep import Conditions, plans
    from corral.launch.whereabouts import find_server

    if request is None:
        request = "infer" if server is not None or model.endswith(".keras") else "step"
    options = {
        "request": request, "clients": clients, "processes": processes, "rows": rows, "rate": rate,
        "think_us": think_us, "idle": idle, "transport": transport, "timeout_us": timeout_us,
        "max_size": max_size, "push_every_s": str(push_every),
    }  # fmt: skip
    rows_to_measure = plans({name: text for name, text in options.items() if text is not None})
    conditions = Conditions(model, seconds=seconds, repeats=repeats, floors=floors, pin=pin)
    if server is not None:
        conditions = replace(conditions, server=find_server(server), keys=keys or "")
    results = _measured(rows_to_measure, conditions)
    if plot is not None:
        from corral.bench.plot import plot as draw

        draw(results, plot)
    if as_json:
        typer.echo(json.dumps({"machine": describe_machine(), "results": [r.as_dict() for r in results]}, indent=2))
    else:
        _show(results)
    raise typer.Exit(1 if any(result.errors or result.torn for result in results) else 0)


def _measured(rows: Sequence[Plan], conditions: Conditions) -> list[Result]:
    """Every result; on a terminal, what is going on meanwhile."""
    from rich.console import Console

    from corral.bench.sweep import measure

    console = Console(stderr=True)
    results: list[Result] = []
    with progress(console) as say:
        for result in measure(rows, conditions, say=say):
            results.append(result)
            if console.is_terminal and len(rows) > 1:
                console.print(_line(result), highlight=False)
    return results


def _line(result: Result) -> str:
    return (
        f"{result.clients:,} clients, {result.rows} rows, timeout {result.timeout_us} us: "
        f"{result.answers_per_s:,.0f} answers/s, p99 {result.p99_ms:.2f} ms"
    )


def _show(results: Sequence[Result]) -> None:
    import sys

    from rich.console import Console

    from corral.bench.table import as_table, remarks

    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(as_table(results))
    for number, result in enumerate(results, 1):
        for remark in remarks(result):
            lead = f"row {number}: " if len(results) > 1 else ""
            console.print(f"{lead}{remark}", highlight=False)
