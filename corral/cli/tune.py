"""`corral tune`: which batch timeout and size suit an experiment on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli.options import ExperimentFile, Overrides
from corral.cli.progress import progress

if TYPE_CHECKING:
    from corral.bench.tuning import Tuning
    from corral.launch.experiment import Experiment


def tune(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    timeouts: Annotated[
        str, typer.Option(metavar="US,US...", help="Values of timeout_us to try, in microseconds.")
    ] = "0,200,500,1000,2000,5000",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds through all settings; medians count.")] = 3,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.2, help="Seconds of each measurement; 2, or 20 steps of a slow environment, if left out."
        ),
    ] = None,
    busy: Annotated[
        bool,
        typer.Option(
            "--busy",
            help="Clients compute for as long as environments take, a process each, instead of sleeping: for "
            "actors on this machine, whose environments share the server's cores.",
        ),
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Put what is recommended into the experiment file, and change nothing else."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw rows per second over timeouts, such as tune.png.")
    ] = None,
) -> None:
    """Measure your own model and environments, and recommend server.batching.timeout_us and max_size.

    Steps one actor's environments to know their time, then serves the experiment's agent to clients that ask as its
    actors would, and changes the settings of that server, round after round. Nobody trains. The shortest timeout
    is recommended that comes within the noise of the best.
    """
    from rich.console import Console

    from corral.bench.curve import check_picture, draw
    from corral.bench.tuning import tune as measure
    from corral.launch.amendment import amend, check_amendable
    from corral.launch.experiment import load_experiment

    loaded = load_experiment(experiment, overrides or [])
    waits = _timeouts(timeouts)
    if write:
        check_amendable(experiment)
    if plot is not None:
        check_picture(plot)
    with progress(Console(stderr=True)) as say:
        tuning = measure(loaded, waits, rounds=rounds, seconds=seconds, busy=busy, say=say)
    chosen = tuning.recommendation.setting
    if plot is not None:
        draw(tuning.found, plot, title=loaded.run.name, chosen=chosen)
    trusted = not tuning.errors and tuning.recommendation.is_worth_writing
    written = write and trusted
    if written:
        amend(experiment, {"timeout_us": chosen.timeout_us, "max_size": chosen.max_size})
    if as_json:
        _print_json(tuning, experiment, written)
    else:
        _show(tuning, loaded)
    if not trusted:
        _warn(tuning, write)
    elif written and not as_json:
        typer.echo(f"written into {experiment}")
    raise typer.Exit(1 if tuning.errors or (write and not written) else 0)


def _timeouts(text: str) -> list[int]:
    from corral.launch.errors import UserError
    from inference_server.settings import BatchingSettings

    try:
        waits = [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--timeouts {text}: must be whole microseconds, such as 0,200,500") from None
    for wait in waits:
        try:
            BatchingSettings(timeout_us=wait)
        except ValueError as error:
            raise UserError(f"--timeouts {text}: {error}") from error
    return waits


def _warn(tuning: Tuning, write: bool) -> None:
    """Say on stderr why the figures are worth little."""
    text = (
        f"rounds of one setting differ by {tuning.recommendation.noise:.0%}, too much to tell settings apart: try "
        "again when the machine does nothing else, with more --seconds or --rounds"
    )
    if tuning.errors:
        each = (f"{error} ({count:,} times)" for error, count in tuning.errors.items())
        text = f"clients were refused: {'; '.join(each)}"
    typer.echo(f"warning: {text}{'; nothing was written' if write else ''}", err=True)


def _show(tuning: Tuning, experiment: Experiment) -> None:
    import sys

    from rich.console import Console

    from corral.bench.curve import as_chart, as_table
    from corral.bench.recommendation import Setting

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, soft_wrap=True)
    batching = experiment.server.batching
    now = None if batching.timeout_us == "auto" else Setting(batching.max_size, batching.timeout_us)
    table = as_table(tuning.found, now=now, chosen=tuning.recommendation.setting)
    chart = as_chart(tuning.found, blocks=console.encoding.startswith("utf"))
    for part in (_described(tuning, experiment), "", table, "", chart, ""):
        console.print(part)
    console.print(tuning.recommendation.reason)


def _described(tuning: Tuning, experiment: Experiment) -> str:
    think, load = tuning.think, tuning.load
    return (
        f"one step of {load.rows} environments ({experiment.environment.label}) takes {_shown(think.step_s)}, "
        f"{think.computing:.0%} of it computing; {load.clients} clients {'compute' if load.busy else 'sleep'} "
        f"for so long between two requests, in {load.processes} processes"
    )


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"


def _print_json(tuning: Tuning, file: Path, written: bool) -> None:
    import json

    from corral.bench.machine import describe_machine

    told: dict[str, Any] = {"machine": describe_machine(), "experiment": str(file)}
    typer.echo(json.dumps({**told, **tuning.as_dict(), "written": written}, indent=2))
