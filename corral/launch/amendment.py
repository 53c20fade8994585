"""An experiment file with a few keys changed, and everything else of it as it was: comments, order, spelling."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import InlineTable

from corral.launch.errors import UserError
from corral.launch.folder import write_whole

_TABLE = ("server", "batching")


def check_amendable(path: Path) -> None:
    """Raises `UserError` where `amend` could not write to `path`: said before anything is measured."""
    if path.suffix != ".toml":
        raise UserError(f"{path} is no TOML file; write the settings into the file that it came from")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} cannot be written")


def amend(path: Path, batching: Mapping[str, Any]) -> None:
    """Put `batching` into the experiment file at `path`, at once or not at all. Raises `UserError` as `amended`."""
    file = path.resolve()  # a link goes on being one
    text = amended(file.read_bytes().decode(), batching, str(path))
    mode = file.stat().st_mode
    write_whole(file, text.encode())
    file.chmod(mode)


def amended(text: str, batching: Mapping[str, Any], name: str) -> str:
    """The text of an experiment file with other batching in it. A key that has its value stays as it is spelt.

    Args:
      batching: keys of `[server.batching]` -> values.
      name: the file's, for errors.

    Raises:
      UserError: the file's own bucket sizes do not go with it.
    """
    before = tomllib.loads(text)
    buckets = _at(before, _TABLE).get("buckets")
    largest = batching.get("max_size")
    if buckets and largest is not None and buckets[-1] != largest:
        raise UserError(
            f"{name}: the buckets there end at {buckets[-1]}, not at max_size = {largest}: change both yourself"
        )
    document = tomlkit.parse(text)
    table = _made(document)
    for key, value in batching.items():
        if table.get(key) != value:
            table[key] = value
    after = tomlkit.dumps(document)
    wanted = before | {"server": before.get("server", {}) | {"batching": _at(before, _TABLE) | dict(batching)}}
    if tomllib.loads(after) != wanted:
        lines = ", ".join(f"{key} = {tomlkit.item(value).as_string()}" for key, value in batching.items())
        raise UserError(f"{name}: its tables are written in a way that cannot be edited; put there: {lines}")
    return after


def _at(tables: dict[str, Any], key: tuple[str, ...]) -> dict[str, Any]:
    for name in key:
        tables = tables.get(name, {})
    return tables


def _made(document: tomlkit.TOMLDocument) -> Any:
    """The table of batching, made where there is none."""
    outer, inner = _TABLE
    if outer not in document:
        if document.as_string().strip():
            document.add(tomlkit.nl())
        document.append(outer, tomlkit.table(is_super_table=True))
    server: Any = document[outer]
    if inner not in server:
        server[inner] = tomlkit.inline_table() if isinstance(server, InlineTable) else tomlkit.table()
    return server[inner]
