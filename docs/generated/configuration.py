"""Every key of an experiment file: type, default, unit and meaning, as `corral config` knows them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from corral.launch.document import about, kind_at, toml
from corral.launch.experiment import Experiment, tables_of
from corral.launch.sources import Key, dotted

UNITS = {
    "_s": "seconds",
    "_ms": "milliseconds",
    "_us": "microseconds",
    "_mb": "megabytes",
    "_bytes": "bytes",
    "_minutes": "minutes",
}
"""What a key's name ends with -> what its value counts."""


def page() -> str:
    """One section for each table, a row for each key."""
    return "\n".join(_table((), Experiment))


def _table(table: Key, kind: Any) -> Iterator[str]:
    inner = []
    if table:
        yield from ("", f"## [{dotted(table)}]", "", about(table))
    yield from ("", "| key | type | default | unit | what it is |", "|---|---|---|---|---|")
    for field in fields(kind):
        key = (*table, field.name)
        value = kind_at(key)
        if is_dataclass(value) or tables_of(value) is not None:
            inner.append(key)
        else:
            yield _row(key, value, field)
    for key in inner:
        value = kind_at(key)
        if tables_of(value) is None:
            yield from _table(key, value)
        else:
            yield from ("", f"## [{dotted(key)}.NAME]", "", about(key), "", _named(tables_of(value)))


def _named(kind: Any) -> str:
    own = ", ".join(f"`{field.name}`" for field in fields(kind))
    return f"Each entry may have keys and tables of its own, laid over the common ones: {own}."


def _row(key: Key, kind: Any, field: Field[Any]) -> str:
    unit = next((unit for end, unit in UNITS.items() if key[-1].endswith(end)), "")
    cells = f"`{key[-1]}`", type_name(kind), _default(field), unit, about(key)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _default(field: Field[Any]) -> str:
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return "must be given"
    return "not set" if value is None else f"`{toml(value)}`"


def type_name(kind: Any) -> str:
    """What a value is in TOML's words: "integer", "list of strings", "float or not set"."""
    plain = {bool: "boolean", int: "integer", float: "float", str: "string", types.NoneType: "not set"}
    if kind in plain:
        return plain[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{toml(choice)}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(one) for one in arguments))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}s"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "table"
    return "string" if kind is not Any else "any value"
