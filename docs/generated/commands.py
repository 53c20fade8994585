"""Every command, as `--help` says it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from corral.cli.app import app


def page() -> str:
    """One section for each command: what it does, its arguments and options."""
    group: Any = typer.main.get_command(app)
    return "\n".join(_sections("corral", group))


def _sections(path: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=path)
    inner = getattr(command, "commands", None)
    if path != "corral":
        yield from ("", f"{'#' * (path.count(' ') + 1)} {path}", "")
    yield from ("```text", _usage(path, command, context), "```", "")
    yield from (_prose(command.help or ""), "")
    yield from _parameters(command, context)
    for name in inner or ():
        yield from _sections(f"{path} {name}", inner[name])


def _usage(path: str, command: Any, context: Any) -> str:
    pieces = " ".join([path, *command.collect_usage_pieces(context)])
    return pieces.replace("[[", "[").replace("]]", "]")  # optional twice


def _parameters(command: Any, context: Any) -> Iterator[str]:
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            name, text = record
            rows.append(f"| `{_cell(name)}` | {_cell(_escaped(text))} |")
    if rows:
        yield from ("| option | what it is |", "|---|---|", *rows)


def _prose(text: str) -> str:
    return _escaped(text.replace("\b", "").strip())


def _escaped(text: str) -> str:
    """Help is plain text: what Markdown or HTML would make of it is not meant. Options become code."""
    plain = "".join(f"\\{letter}" if letter in "<>[]*_`#" else letter for letter in text)
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"`\g<0>`", plain)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
