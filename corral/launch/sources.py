"""Where an experiment's values come from: the file, the environment, and --set."""

from __future__ import annotations

import difflib
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, ExperimentError, hints, tables_of

PREFIX = "CORRAL_"

Key: TypeAlias = tuple[str, ...]
"""A dotted key, taken apart."""


class Given(NamedTuple):
    """A value that someone gave.

    Attributes:
      value: as parsed.
      origin: where it came from, for a person.
      text: as typed, where it came from a command line or environment variable.
    """

    value: Any
    origin: str
    text: str | None = None

    @property
    def shown(self) -> str:
        """The value as a person knows it."""
        return repr(self.value) if self.text is None else self.text


Values: TypeAlias = dict[Key, Given]


def read_file(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or of JSON where its name ends so. Raises `ExperimentError`."""
    kind = "JSON" if path.suffix == ".json" else "TOML"
    if path.suffix in (".keras", ".h5"):
        raise ExperimentError(
            path, [f"{path} is a model, and no experiment file (.toml): corral serve {path} serves it"]
        )
    try:
        text = path.read_text(encoding="utf-8")
        tables = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except FileNotFoundError:
        raise ExperimentError(path, [f"{path}: no such experiment file{_similar_files(path)}"]) from None
    except IsADirectoryError:
        raise ExperimentError(path, [f"{path} is a folder; name an experiment file (.toml) in it"]) from None
    except UnicodeDecodeError as error:
        raise ExperimentError(path, [f"{path} is no {kind} text: {error}"]) from None
    except OSError as error:
        raise ExperimentError(path, [f"{path}: {error.strerror}"]) from None
    except ValueError as error:
        raise ExperimentError(path, [f"{path} is no valid {kind}: {error}"]) from None
    if not isinstance(tables, dict):
        raise ExperimentError(path, [f"{path} holds no tables such as [environment]"])
    return tables


def gather(path: Path, overrides: Sequence[str], environ: Mapping[str, str]) -> tuple[Values, list[str]]:
    """Every value given, the strongest source winning, and the problems met: keys that do not exist."""
    values: Values = {}
    problems: list[str] = []
    trees = [
        _from_file(path),
        *_from_environment(environ, problems),
        *_from_overrides(overrides, problems),
    ]
    for key, given in trees:
        for item in _leaves(Experiment, key, (), given):
            if isinstance(item, str):
                problems.append(item)
            else:
                values[item[0]] = item[1]
    return values, problems


def parse_value(text: str) -> Any:
    """`text` as a TOML value ("500", "true", "[1, 2]"), or as the plain string that it otherwise is."""
    try:
        document = tomllib.loads(f"value = {text}")
    except ValueError:
        return text
    return document["value"] if list(document) == ["value"] else text


def read_override(text: str) -> tuple[str, Any]:
    """The dotted key and the value of "key=value". Raises `UserError` for anything else."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise UserError(f"{text}: expected key=value, such as server.batching.timeout_us=500")
    return key.strip(), parse_value(value.strip())


def _from_file(path: Path) -> tuple[Key, Given]:
    return (), Given(read_file(path), str(path))


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[Key, Given]]:
    for name in sorted(environ):
        table, separator, rest = name.removeprefix(PREFIX).partition("__")
        if not name.startswith(PREFIX):
            continue
        if not separator:
            # Other programs may own other CORRAL_ names.
            if not is_dataclass(hints(Experiment).get(table.lower(), Experiment)):
                yield (
                    (table.lower(),),
                    Given(parse_value(environ[name]), f"environment variable {name}", environ[name]),
                )
            continue
        if table.lower() in hints(Experiment):
            key = (table.lower(), *rest.lower().split("__"))
            yield key, Given(parse_value(environ[name]), f"environment variable {name}", environ[name])
        elif close := difflib.get_close_matches(table.lower(), hints(Experiment), n=1):
            # One that nearly names a table is a slip.
            meant = f"{PREFIX}{close[0].upper()}__{rest}"
            problems.append(f"environment variable {name}: no such table; did you mean {meant}?")


def _from_overrides(overrides: Sequence[str], problems: list[str]) -> Iterator[tuple[Key, Given]]:
    for text in overrides:
        try:
            key, value = read_override(text)
        except UserError as error:
            problems.append(f"--set {error}")
        else:
            yield tuple(key.split(".")), Given(value, f"--set {text}", text.partition("=")[2].strip())


def _leaves(kind: Any, ahead: Key, behind: Key, given: Given) -> Iterator[tuple[Key, Given] | str]:
    """Follow the key `ahead`, then take the value apart, down to what no table holds; texts are problems."""
    if (table := tables_of(kind)) is not None:
        yield from _named_tables(table, ahead, behind, given)
    elif not is_dataclass(kind):
        yield from _open_table(kind, ahead, behind, given)
    elif ahead:
        yield from _enter(kind, ahead[0], ahead[1:], behind, given)
    elif isinstance(given.value, dict):
        for name, value in given.value.items():
            yield from _enter(kind, name, (), behind, given._replace(value=value, text=None))
    else:
        yield f"{dotted(behind)} = {given.shown} ({given.origin}): must be a table of {_known(kind)}"


def _enter(kind: Any, name: str, ahead: Key, behind: Key, given: Given) -> Iterator[tuple[Key, Given] | str]:
    if name in hints(kind):
        yield from _leaves(hints(kind)[name], ahead, (*behind, name), given)
    else:
        key = (*behind, name, *ahead)
        advice = _advice(kind, key, len(behind))
        yield f"{dotted(key)} = {given.shown} ({given.origin}): no such key; {advice}"


def _named_tables(kind: Any, ahead: Key, behind: Key, given: Given) -> Iterator[tuple[Key, Given] | str]:
    """Below a map of tables: each key is the name of one."""
    if ahead:
        yield from _leaves(kind, ahead[1:], (*behind, ahead[0]), given)
    elif isinstance(given.value, dict):
        for name, value in given.value.items():
            # A table that says nothing is one, too.
            yield (*behind, name), given._replace(value={}, text=None)
            yield from _leaves(kind, (), (*behind, name), given._replace(value=value, text=None))
    else:
        yield f"{dotted(behind)} = {given.shown} ({given.origin}): must be tables, such as [{dotted(behind)}.main]"


def _open_table(kind: Any, ahead: Key, behind: Key, given: Given) -> Iterator[tuple[Key, Given] | str]:
    """Below a value of any kind; a map is merged by its keys, whatever they are."""
    if not ahead:
        if _is_map(kind) and isinstance(given.value, dict):
            for name, value in given.value.items():
                yield (*behind, name), given._replace(value=value, text=None)
        else:
            yield behind, given
    elif _is_map(kind):
        value = given.value
        for name in reversed(ahead[1:]):
            value = {name: value}
        yield (*behind, ahead[0]), given._replace(value=value)
    else:
        key = dotted((*behind, *ahead))
        yield f"{key} = {given.shown} ({given.origin}): no such key; {dotted(behind)} is no table"


def _is_map(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def dotted(key: Sequence[Any]) -> str:
    """The key as it is written: "server.batching.timeout_us"."""
    return ".".join(str(part) for part in key)


def _known(kind: Any) -> str:
    return ", ".join(hints(kind))


def _advice(kind: Any, key: Key, depth: int) -> str:
    """What was probably meant: a similar name here, or the same name in another table."""
    close = difflib.get_close_matches(key[depth], hints(kind), n=1)
    if close:
        return f"did you mean {dotted((*key[:depth], close[0], *key[depth + 1 :]))}?"
    everywhere = list(all_keys(Experiment))
    elsewhere = [dotted(known) for known in everywhere if known[-1] == key[-1]]
    elsewhere = elsewhere or difflib.get_close_matches(dotted(key), map(dotted, everywhere), n=1, cutoff=0.8)
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"{dotted(key[:depth]) or 'an experiment'} has {_known(kind)}"


def all_keys(kind: Any, behind: Key = ()) -> Iterator[Key]:
    """Every key of a dataclass and of those within it."""
    for name, child in hints(kind).items():
        if is_dataclass(child):
            yield from all_keys(child, (*behind, name))
        elif tables_of(child) is not None:
            continue  # their names are the user's
        else:
            yield (*behind, name)


def _similar_files(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir() if item.suffix == ".toml"]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""
