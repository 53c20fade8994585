"""Experiment files as we write them: above every key a comment, in the words of the settings module itself."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import tomlkit
from tomlkit.exceptions import ConvertError

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, hints, inside, tables_of
from corral.launch.sources import Key, dotted

_SENTENCE_END = re.compile(r'(?<=\.) (?=[A-Z"`])')  # not the one in "et al. 2018"


def heading(table: Key) -> Iterator[str]:
    """The lines that begin a table."""
    yield ""
    yield comment(about(table))
    yield f"[{dotted(table)}]"


def entry(key: Key, value: Any, note: str = "") -> Iterator[str]:
    """The lines of one key; `note` stands behind the value. Raises `UserError` for what TOML cannot say."""
    try:
        text = f"{key[-1]} = {toml(value)}"
    except ConvertError as error:
        raise UserError(f"{dotted(key)} = {value!r} cannot be written as TOML: {error}") from error
    yield comment(about(key))
    yield _noted(text, note)


def absent(key: Key, sample: str, note: str = "") -> Iterator[str]:
    """The lines of a key that is left out: `sample` stands where its value would."""
    yield comment(about(key))
    yield _noted(comment(f"{key[-1]} = {sample}"), note)


def comment(text: str) -> str:
    """A comment of one line, whatever `text` holds."""
    return "# " + "".join(letter if letter.isprintable() else " " for letter in text)


def toml(value: Any) -> str:
    """A value as TOML writes it, on one line. Raises `ConvertError` for what TOML cannot say, such as None."""
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return str(table.as_string())
    return str(tomlkit.item(value).as_string())


def about(key: Key) -> str:
    """What a key or table is, in one sentence, and which values it takes where its type says so."""
    table = kind_at(key[:-1])
    possible = ", ".join(map(toml, choices(inside(table, key[-1]))))
    if tables_of(table) is not None:
        return _first_sentence(inspect.getdoc(tables_of(table)) or "")
    text = _comments(table).get(key[-1], "")
    return f"{text} One of {possible}." if possible else text


def default(key: Key) -> Any:
    """What stands at `key` if nobody says anything; None where somebody has to."""
    found = {field.name: field for field in fields(kind_at(key[:-1]))}[key[-1]]
    return None if found.default is MISSING else found.default


def kind_at(key: Key) -> Any:
    """The type of what stands at `key` in an experiment."""
    kind: Any = Experiment
    for name in key:
        kind = inside(kind, name)
    return kind


@cache
def _comments(table: type) -> dict[str, str]:
    """Field name -> what its dataclass says beneath it, or what the class says where the field is a table."""
    (tree,) = ast.parse(inspect.getsource(table)).body
    assert isinstance(tree, ast.ClassDef)
    found = {name: inspect.getdoc(kind) for name, kind in hints(table).items() if is_dataclass(kind)}
    for field, text in pairwise(tree.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = words
    return {name: _first_sentence(words) for name, words in found.items() if words}


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(" ".join(text.split()), maxsplit=1)[0]


def choices(kind: Any) -> list[Any]:
    """The values that a `Literal` allows, alone or beside None; none where other values are possible too."""
    if typing.get_origin(kind) is Literal:
        return list(typing.get_args(kind))
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return []
    kinds = [inner for inner in typing.get_args(kind) if inner is not type(None)]
    return choices(kinds[0]) if len(kinds) == 1 else []


def _noted(line: str, note: str) -> str:
    return f"{line}  {comment(note)}" if note else line
