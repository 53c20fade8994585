"""`corral init`: a first experiment for an environment."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer


def init(
    environment: Annotated[
        str,
        typer.Argument(
            metavar="ENV",
            help="A gymnasium id such as CartPole-v1 or my_package:Mine-v0, or my_module:function for a function "
            "of yours that makes an environment.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write it; cartpole.toml for CartPole-v1 if left out."),
    ] = None,
    kwargs: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A keyword argument for the environment. Repeat it for more."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented experiment for an environment, ready to be run: corral init CartPole-v1."""
    from actor_client.settings import EnvironmentSettings
    from corral.launch.draft import file_name, write_draft
    from corral.launch.errors import UserError
    from corral.launch.view import say

    try:
        settings = EnvironmentSettings(environment, kwargs=dict(map(_argument, kwargs or [])))
    except ValueError as error:
        raise UserError(f"ENV: {error}") from error
    path = output or Path(file_name(environment))
    write_draft(settings, path, force=force)
    say(f"wrote {path}; next: corral run {shlex.quote(str(path))}")


def _argument(text: str) -> tuple[str, Any]:
    from corral.launch.errors import UserError
    from corral.launch.sources import parse_value

    name, separator, value = text.partition("=")
    if not (separator and name.strip()):
        raise UserError(f"--kwargs {text}: expected name=value, such as is_slippery=false")
    return name.strip(), parse_value(value.strip())
