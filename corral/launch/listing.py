"""The effective configuration as an experiment file: every key, its value, and where that came from."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from corral.agents.settings import USERS
from corral.launch.document import absent, entry, heading, kind_at, toml
from corral.launch.experiment import Experiment, load_experiment, tables_of
from corral.launch.sources import Given, Key, Values, gather

PLACEHOLDER = "CartPole-v1"
"""The environment of a listing that nobody named one for."""

_NAME: Key = ("run", "name")
_ID: Key = ("environment", "id")
_AGENT: Key = ("agent", "name")
_UNNAMED = Given("", "")
_NOTHING = Path(os.devnull)  # an experiment file that says nothing


def list_configuration(path: Path | None, overrides: Sequence[str], environ: Mapping[str, str]) -> str:
    """The experiment that `path`, `environ` and `overrides` make together, as TOML that loads as an equal one.

    Args:
      path: the experiment file; None lists the defaults, with a placeholder for the environment.
      overrides, environ: as `load_experiment` takes them.

    Raises:
      UserError: there is no such experiment, or TOML cannot say it (a null out of JSON).
    """
    title = "The effective configuration" if path is None else f"The effective configuration of {path}"
    lines = [
        f"# {title}.",
        "# A key with nothing behind its value has its default.",
        *_listed(*_effective(path, overrides, environ)),
    ]
    return "\n".join(lines) + "\n"


def _effective(
    path: Path | None, overrides: Sequence[str], environ: Mapping[str, str]
) -> tuple[Experiment, Values]:
    """The experiment, and who gave which of its values."""
    if path is not None:
        experiment = load_experiment(path, overrides, environ)
        given, _ = gather(path, overrides, environ)
        given.setdefault(_NAME, Given(experiment.run.name, "the file's name"))
        return experiment, given
    given, _ = gather(_NOTHING, overrides, environ)
    if _ID not in given:
        given[_ID] = Given(PLACEHOLDER, "a placeholder: name your own environment")
        overrides = [*overrides, f'environment.id="{PLACEHOLDER}"']
    experiment = load_experiment(_NOTHING, overrides, environ)
    if given.get(_NAME, _UNNAMED).value == "":
        experiment = replace(experiment, run=replace(experiment.run, name=""))  # not what the nothing is called
    return experiment, given


def _listed(experiment: Experiment, given: Values) -> Iterator[str]:
    yield from _table((), experiment, given)
    yield from heading(("policies",))
    for name, own in experiment.effective()["policies"].items():
        yield from _own_table(("policies", name), experiment.policies[name], own, given)


def _own_table(table: Key, settings: Any, own: Mapping[str, Any], given: Values) -> Iterator[str]:
    """A policy's table: what it has of its own, and nothing of what it has from the experiment's own tables."""
    yield from heading(table)
    named = {field.name: field for field in fields(settings)}
    inner = []
    for name in own:
        key, value = (*table, name), getattr(settings, name)
        if is_dataclass(value):
            if own[name]:
                inner.append((key, value, own[name]))
        elif value is None:
            yield from absent(key, f"<{_type_name(kind_at(key))}>", "not set")
        else:
            yield from entry(key, value, _note(key, value, named[name], given))
    for key, value, inner_own in inner:
        yield from _own_table(key, value, inner_own, given)


def _table(table: Key, settings: Any, given: Values) -> Iterator[str]:
    if table:
        yield from heading(table)
    inner = []
    for field in fields(settings):
        key, value = (*table, field.name), getattr(settings, field.name)
        if is_dataclass(value):
            if given.get(_AGENT) is None or _looked_at(key, given[_AGENT].value):
                inner.append((key, value))
        elif tables_of(kind_at(key)) is not None:
            continue
        elif value is None:
            yield from absent(key, f"<{_type_name(kind_at(key))}>", "not set")
        else:
            yield from entry(key, value, _note(key, value, field, given))
    for key, value in inner:
        yield from _table(key, value, given)


def _looked_at(table: Key, agent: Any) -> bool:
    """Whether the algorithm named `agent` has settings in this table."""
    return table[0] != "agent" or len(table) < 2 or agent in USERS.get(table[1], (agent,))


def _note(key: Key, value: Any, field: Field[Any], given: Values) -> str:
    """What the default is and who gave this value; nothing where it is the default."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    if value == default:
        return ""
    # A map is given key by key.
    origins = dict.fromkeys(item.origin for known, item in given.items() if known[: len(key)] == key)
    source = f"from {', '.join(origins)}"
    if default is MISSING:
        return source
    return f"{'not set' if default is None else toml(default)} by default; {source}"


def _type_name(kind: Any) -> str:
    """What an optional value is where there is one: "float"."""
    return " or ".join(getattr(one, "__name__", str(one)) for one in typing.get_args(kind) if one is not NoneType)
