"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

ExperimentFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT", help="The experiment file, such as examples/cartpole.toml.")
]

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the file, such as server.batching.timeout_us=500. Repeat it for more. "
        "The environment can do the same: CORRAL_SERVER__BATCHING__TIMEOUT_US=500.",
    ),
]

Seed: TypeAlias = Annotated[int | None, typer.Option(help="Override run.seed.")]
Folder: TypeAlias = Annotated[str | None, typer.Option(help="Override run.folder: where run folders are made.")]
Insecure: TypeAlias = Annotated[
    bool, typer.Option("--insecure", help="Listen where other machines can reach it, without keys.")
]


def with_options(overrides: list[str] | None, options: dict[str, Any]) -> list[str]:
    """The overrides of `--set` and behind them, so that they win, those of options that were given."""
    # JSON's strings, numbers and booleans are TOML's too, as long as letters stay letters.
    given = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None
    ]
    return [*(overrides or []), *given]
