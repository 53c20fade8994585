"""`corral plan`: what a run of any size needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from corral.cli.options import ExperimentFile, Overrides
from corral.cli.progress import progress

if TYPE_CHECKING:
    from corral.bench.figures import Figures
    from corral.bench.planning import Demand, RunPlan
    from corral.launch.experiment import Experiment


def plan(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    actors: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Actor processes; the experiment's, if left out.")
    ] = None,
    env_ms: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Milliseconds of one step of one environment; an actor steps its own one after another. Left out: "
            "the experiment's environments are stepped, to know.",
        ),
    ] = None,
    servers: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Say what so many servers come to, in place of how many.")
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="What `corral bench --json` measured of this experiment, with its rows a request and several "
            "--clients; left out, it is measured now.",
        ),
    ] = None,
    transport: Annotated[str, typer.Option(help="Between machines: curve (tcp with keys), or tcp.")] = "curve",
    seconds: Annotated[float, typer.Option(min=0.2, help="Seconds of each measurement of the server.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say how many servers, cores and how much bandwidth a run of this size needs, and what it comes to.

    Measures this experiment's server, learner and environments on this machine, small, in about a minute; the rest
    is arithmetic (docs/scaling.md), as if all machines were like this one.
    """
    from rich.console import Console

    from corral.bench.figures import demand_of, measure_figures, read_results, serving_of, sizes_of
    from corral.bench.limits import limits
    from corral.bench.planning import plan as plan_run
    from corral.launch.errors import UserError
    from corral.launch.experiment import load_experiment

    if transport not in ("tcp", "curve"):
        raise UserError(f"--transport must be tcp or curve, not {transport}")
    loaded = load_experiment(experiment, overrides or [])
    results = read_results(bench) if bench is not None else []
    with progress(Console(stderr=True)) as say:
        figures = measure_figures(
            loaded,
            results=results,
            environments=env_ms is None,
            transport=cast(Literal["tcp", "curve"], transport),
            seconds=seconds,
            say=say,
        )
    serving = serving_of(figures, loaded.actor.environments)
    demand = demand_of(loaded, actors or loaded.actor.processes, *_think(loaded, figures, env_ms))
    sizes = sizes_of(loaded, figures.training, keys=transport == "curve")
    found = plan_run(demand, serving, figures.training, sizes, servers=servers)
    said = limits(demand, serving, found)
    if as_json:
        _print_json(figures, demand, found, said)
    else:
        _show(loaded, figures, demand, found, said)


def _think(experiment: Experiment, figures: Figures, env_ms: float | None) -> tuple[float, float]:
    """Seconds of one step of an actor's environments, and the processors that it uses meanwhile."""
    if env_ms is not None:
        return env_ms / 1e3 * experiment.actor.environments, 1.0
    assert figures.think is not None
    return figures.think.step_s, figures.think.computing


def _print_json(figures: Figures, demand: Demand, found: RunPlan, said: list[str]) -> None:
    import json
    from dataclasses import asdict

    from corral.bench.machine import describe_machine

    table = {
        "machine": describe_machine(),
        "demand": asdict(demand),
        "plan": asdict(found) | {"steps_per_s": found.steps_per_s},
        "limits": said,
        "figures": figures.as_dict(),
    }
    typer.echo(json.dumps(table, indent=2))


def _show(experiment: Experiment, figures: Figures, demand: Demand, found: RunPlan, said: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    whole = demand.actors * demand.environments
    console.print(
        f"{demand.actors:,} actors of {demand.environments:,} environments, {whole:,} in all; "
        f"{demand.think_s * 1e3:,.2f} ms for a step of one actor's",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for cells in _rows(figures, demand, found):
        table.add_row(*cells)
    console.print(table)
    for text in said:
        console.print(f"- {text}", highlight=False)
    if found.servers > 1:
        settings = f"servers = {found.servers}, server.max_environments = {_room(found)}"
        console.print(f"in {experiment.run.name}.toml: {settings}", highlight=False)


def _rows(figures: Figures, demand: Demand, found: RunPlan) -> list[tuple[str, str, str]]:
    whole = demand.actors * demand.environments
    cores = found.actor_cores + found.server_cores + found.learner_cores
    each_busy = f"each at {found.busy:.0%} of what it can do, with {found.environments:,} environments"
    step_ms = figures.training.step_s * 1e3
    split = (
        f"actors {found.actor_cores:,.1f}, servers {found.server_cores:,.1f}, learner {found.learner_cores:,.1f}"
    )
    return [
        ("steps/s", f"{found.acting_per_s:,.0f}", f"{found.acting_per_s / whole:,.1f} of each environment"),
        ("answers after", f"{found.wait_s * 1e3:,.2f} ms", f"actors wait for {found.waiting:.0%} of their time"),
        ("servers", f"{found.servers:,}", each_busy),
        ("learner", f"{found.trained_per_s:,.0f} /s", f"trained at most, {step_ms:,.1f} ms a training step"),
        ("cores", f"{cores:,.1f}", split),
        ("actors to servers", _bits(found.requests), f"{_bits(found.requests / found.servers)} into each server"),
        ("servers to actors", _bits(found.answers), f"{_bits(found.answers / found.servers)} out of each server"),
        ("servers to learner", _bits(found.unrolls), "unrolls"),
        ("learner to servers", _bits(found.weights), "weights"),
    ]


def _bits(bytes_per_s: float) -> str:
    return f"{bytes_per_s * 8 / 1e6:,.1f} Mbit/s"


def _room(found: RunPlan) -> int:
    """Environments that a server should take: its share when one of the others has gone."""
    import math

    return math.ceil(found.environments * found.servers / (found.servers - 1))
