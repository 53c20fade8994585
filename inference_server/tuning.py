"""Settings that change while the server runs: those of batching, within what was compiled at the start."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from corral.protocol import ErrorCode, ProtocolError
from inference_server.settings import BatchingSettings

TABLE = "server.batching."


def changed(settings: BatchingSettings, changes: Mapping[str, Any], compiled: Sequence[int]) -> BatchingSettings:
    """`settings` with `changes` in them, or nothing at all.

    No request may meet a compile, so `max_size` and `buckets` choose among the sizes that were compiled.

    Args:
      settings: as they are now.
      changes: dotted key ("server.batching.timeout_us") -> value.
      compiled: the bucket sizes, ascending.

    Raises:
      ProtocolError: SETTING, naming the key, the value and what it can be.
    """
    values = {name: _checked(name, changes[key], compiled) for key in changes for name in [_name(key)]}
    if values.get("buckets"):
        values.setdefault("max_size", values["buckets"][-1])
    elif values.keys() & {"buckets", "max_size"}:
        largest = values.get("max_size", settings.max_size)
        values["buckets"] = tuple(size for size in compiled if size <= largest)
    try:
        return replace(settings, **values)
    except ValueError as error:
        raise ProtocolError(ErrorCode.SETTING, f"{TABLE}{error}") from error


def _name(key: str) -> str:
    names = [field.name for field in fields(BatchingSettings)]
    name = key.removeprefix(TABLE)
    if name == key or name not in names:
        known = ", ".join(TABLE + name for name in names)
        raise ProtocolError(
            ErrorCode.SETTING,
            f"{key} cannot change while the server runs; what can: {known}. Restart it for others",
        )
    return name


def _checked(name: str, value: Any, compiled: Sequence[int]) -> Any:
    """The value, of the right type; a batch size is among the compiled ones."""
    wants_list, may_learn, is_size = name == "buckets", name == "timeout_us", name in ("buckets", "max_size")
    if may_learn and value == "auto":
        return value
    # Before anything looks at every item, since this is the thread that answers everybody.
    too_long = isinstance(value, list) and len(value) > len(compiled)
    items = value if wants_list and isinstance(value, list) else [value]
    if too_long or wants_list != isinstance(value, list) or any(type(item) is not int for item in items):
        wanted = f"a list of at most {len(compiled)} whole numbers" if wants_list else "a whole number"
        wanted += ' or "auto"' if may_learn else ""
        raise ProtocolError(ErrorCode.SETTING, f"{TABLE}{name} must be {wanted}, not {reprlib.repr(value)}")
    strange = [size for size in items if size not in compiled]
    if strange and is_size:
        raise ProtocolError(
            ErrorCode.SETTING,
            f"{TABLE}{name} = {reprlib.repr(value)}: batches of {strange[0]} rows were not compiled when the "
            f"server started, but these were: {', '.join(map(str, compiled))}",
        )
    return tuple(value) if wants_list else value
