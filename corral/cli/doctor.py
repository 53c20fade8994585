"""`corral doctor`: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import completion
from corral.cli.options import Keys, Overrides
from corral.cli.progress import progress

if TYPE_CHECKING:
    from corral.launch.checkup import Check, Finding
    from corral.launch.experiment import Experiment


def doctor(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            show_default=False,
            help="An experiment that should run here: its ports, files and time per step are looked at.",
            autocompletion=completion.experiments,
        ),
    ] = None,
    overrides: Overrides = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="A server that should be within reach: address or host."),
    ] = None,
    keys: Keys = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at machine, packages, accelerators, limits, ports, keys, reachability and time per step; say what to do.

    Exits with 1 where something will not run.
    """
    from rich.console import Console

    from corral.launch.checkup import State
    from corral.launch.experiment import load_experiment

    loaded = load_experiment(experiment, overrides or []) if experiment is not None else None
    findings: list[Finding] = []
    with progress(Console(stderr=True)) as say:
        for name, check in _checks(loaded, server, keys):
            say(f"looking at {name}")
            findings.append(check())
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    raise typer.Exit(int(any(finding.state is State.BAD for finding in findings)))


def _checks(experiment: Experiment | None, server: str | None, keys: str | None) -> Iterator[tuple[str, Check]]:
    from corral.launch.checkup import experiment_checks, keys_check, machine_checks, reachability
    from corral.launch.whereabouts import find_server

    folder = Path(experiment.run.folder if experiment is not None else "runs")
    for check in machine_checks(folder):
        yield "this machine", check
    yield "accelerators", _accelerators
    if experiment is not None:
        keys = keys or experiment.security.keys
        for check in experiment_checks(experiment):
            yield "what the experiment needs", check
    if keys:
        place = Path(keys)
        yield "keys", lambda: keys_check(place)
    if server is not None:
        address = find_server(server)
        yield "the server", lambda: reachability(address, Path(keys) if keys else None)
    if experiment is not None:
        yield "the time of a step", lambda: _step_time(experiment)


def _accelerators() -> Finding:
    """What Keras would compute on."""
    from corral.launch.checkup import Finding, State

    try:
        from corral.launch.quiet import import_keras

        import_keras()
        import keras

        from corral.agents import load_backend

        found = [str(device) for device in load_backend().acting_devices("auto")]
    except ImportError:
        return Finding("accelerators", State.GOOD, "no Keras here: an actor needs none")
    except Exception as error:  # a driver or a backend that does not start says so in its own way
        return Finding(
            "accelerators", State.BAD, f"Keras does not start: {error}", "pip install again, or CORRAL_TRACEBACK=1"
        )
    return Finding("accelerators", State.GOOD, f"{keras.backend.backend()} on {', '.join(found)}")


def _step_time(experiment: Experiment) -> Finding:
    """How long environments and model take for one step, each alone."""
    from corral.bench.figures import effective
    from corral.bench.processes import BenchProcess
    from corral.bench.think import measure_think
    from corral.launch.checkup import Finding, State

    rows = experiment.actor.environments
    batch = max(rows, min(rows * experiment.actor.processes, experiment.server.batching.max_size))
    with effective(experiment) as file:
        think = measure_think(file, 1.0)
        alone = {"model": str(file), "request": "step", "rows": rows, "batch": batch}
        with BenchProcess(role="alone", cores=[], **alone) as model:
            model.hear()
            full_s = model.ask({"seconds": 1.0})["full_s"]
    text = (
        f"{rows} environments {think.step_s * 1e3:.2f} ms, the policy {full_s * 1e3:.2f} ms for {batch} rows: "
        f"one actor can do {rows / (think.step_s + full_s):,.0f} steps/s at most"
    )
    return Finding("time per step", State.GOOD, text)


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape

    colours = {"good": "green", "poor": "yellow", "bad": "red"}
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = f"[{colours[finding.state]}]{finding.state:4}[/]"
        console.print(f"{mark}  {finding.name:{width}}  {escape(finding.text)}")
        if finding.advice:
            console.print(f"{'':{width + 8}}-> {escape(finding.advice)}")
