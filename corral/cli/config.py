"""`corral config`: what an experiment comes to, with everything that is left unsaid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from corral.cli import completion
from corral.cli.options import Overrides


def config(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT",
            show_default=False,
            help="The experiment file; without it, the defaults.",
            autocompletion=completion.experiments,
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print every key of an experiment: its value, what it is, and where it came from if it is not the default.

    What is printed is an experiment file itself: corral config examples/cartpole.toml > mine.toml.
    """
    from corral.launch.listing import list_configuration
    from corral.launch.view import say

    say(list_configuration(experiment, overrides or [], os.environ).rstrip("\n"))
