"""Whether a `corral` command of a page exists as it stands there: its command, its options, its keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer

from corral.cli.app import app
from corral.launch.errors import UserError
from corral.launch.experiment import load_experiment
from corral.launch.sources import read_override
from tests.support.command import ROOT

_ENDS = {"|", "&", "&&", ";", "do", ">", "2>"}


def commands(line: str) -> Iterator[list[str]]:
    """The words of each `corral` command in a line of shell, without "corral"."""
    splitter = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    splitter.whitespace_split = True
    part: list[str] = []
    for word in [*splitter, ";"]:
        if word not in _ENDS:
            part.append(word)
            continue
        for before, (number, program) in zip(["", *part], enumerate(part), strict=False):
            # It may stand behind others ("docker compose exec SERVICE corral"), and may be an option's value.
            if program == "corral" and (before in ("", "--") or not before.startswith("--")):
                yield part[number + 1 :]
                break
        part = []


@cache
def _corral() -> Any:
    return typer.main.get_command(app)


def complaint(words: list[str]) -> str:
    """What is wrong with a command's words; "" where nothing is."""
    group = _corral()
    context = group.context_class(group, info_name="corral")
    try:
        while hasattr(group, "commands"):
            name, command, words = group.resolve_command(context, words)
            context = command.context_class(command, info_name=name, parent=context)
            group = command
        context = group.make_context(context.info_name, list(words), parent=context.parent)
    except typer.Exit:
        return ""  # --help
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer's errors about usage have
            raise
        return str(error.format_message())
    return _experiment_complaint(context.params)


def _experiment_complaint(values: dict[str, Any]) -> str:
    """What is wrong with the experiment that is named, and with what is overridden in it."""
    file, overrides = values.get("experiment"), values.get("overrides") or []
    try:
        if file is not None and (ROOT / file).exists():
            load_experiment(ROOT / file, overrides, {})
        for override in overrides:
            read_override(override)
        for change in values.get("changes") or []:
            read_override(str(change))
    except UserError as error:
        return str(error)
    if file is not None and Path(file).parts[:1] == ("examples",) and not (ROOT / file).exists():
        return f"{file} does not exist"
    return ""
