"""From values that someone gave to an experiment that holds: types and bounds, every problem at once."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from corral.launch.experiment import Experiment, ExperimentError, hints, inside, tables_of
from corral.launch.policy_settings import inherit
from corral.launch.sources import Given, Key, Values, dotted, gather

_PLACEHOLDER = "?"
_NOTHING = Given("", "")


def load(path: Path, overrides: Sequence[str], environ: Mapping[str, str]) -> Experiment:
    """See `corral.launch.experiment.load_experiment`."""
    values, problems = gather(path, overrides, environ)
    experiment = _Check(path, _inherited(values, problems), problems, values).experiment()
    if problems:
        raise ExperimentError(path, problems)
    assert experiment is not None
    run = experiment.run
    return experiment if run.name else replace(experiment, run=replace(run, name=path.stem))


class _Check:
    """Validates again and again, each time without the values found wrong, until nothing is found."""

    def __init__(self, path: Path, values: Values, problems: list[str], given: Values) -> None:
        self._path = path
        self._values = dict(values)
        self._problems = problems
        self._blamed: set[Key] = set()
        self._refused: list[Given] = []
        self._said = {id(value): key for key, value in given.items()}  # where, before policies inherited it

    def experiment(self) -> Experiment | None:
        """The experiment, or None where what remained cannot be checked any further."""
        while True:
            try:
                return _adapter().validate_python(_nest(self._values))
            except ValidationError as error:
                progress = [self._mend(item) for item in _joined(error.errors(include_url=False))]
                if not all(progress):
                    return None

    def _mend(self, error: Any) -> bool:
        """Report one error and take its cause out of the values. False where that is not possible."""
        if error["type"] == "missing":
            return self._mend_missing(error["loc"])
        key, expected = _blame(error)
        key = self._given_key(key)
        given = self._values.pop(key, None)
        if given is None:
            # A default is wrong only beside something that was given, or in a table that was.
            if key not in self._blamed:
                self._problems.append(f"{dotted(key)}: {expected}" if key else expected)
            return False
        if error["type"] == "string_type" and given.text is not None and given.value != given.text:
            self._values[key] = given._replace(value=given.text)  # a number where a name was wanted
            return True
        self._blamed.add(key)
        if not any(given is known for known in self._refused):  # a policy's that it has from the experiment's own
            self._refused.append(given)
            key = self._said.get(id(given), key)
            self._problems.append(f"{dotted(key)} = {given.shown} ({given.origin}): {expected}")
        return True

    def _mend_missing(self, key: Key) -> bool:
        missing = [(*key, "id")] if key == ("environment",) else [key]
        for key in missing:
            if not any(known[: len(key)] == key for known in self._blamed):
                self._problems.append(f"{dotted(key)} is missing in {self._path}: {_wanted(key)}")
            self._values[key] = Given(_PLACEHOLDER, "")
            self._blamed.add(key)
        return True

    def _given_key(self, key: Key) -> Key:
        """The longest beginning of `key` that was given: an element's error belongs to its list."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._values:
                return key[:length]
        return key


@cache
def _adapter() -> TypeAdapter[Experiment]:
    return TypeAdapter(Experiment)


def _joined(errors: Sequence[Any]) -> list[Any]:
    """The errors, those of one value that may be of several kinds as one.

    Such a value has an error for each kind, at a place of that kind's name behind the key.
    """
    joined: dict[Key, Any] = {}
    for error in errors:
        key = _before_kinds(error["loc"])
        if key in joined and key != error["loc"]:
            joined[key]["msg"] += error["msg"].replace("Input should be", ", or", 1)
        else:
            joined[key] = {**error, "loc": key}
    return list(joined.values())


def _before_kinds(location: Key) -> Key:
    kind: Any = Experiment
    for depth, name in enumerate(location):
        if not (isinstance(kind, type) and is_dataclass(kind)) and tables_of(kind) is None:
            several = typing.get_origin(kind) in (typing.Union, types.UnionType)
            return location[:depth] if several else location
        table = tables_of(kind)
        kind = hints(kind).get(name) if table is None else table
    return location


def _blame(error: Any) -> tuple[Key, str]:
    """The key that an error is about, and what was expected of it."""
    location: Key = error["loc"]
    if error["type"] != "value_error":
        return location, error["msg"].replace("Input should be", "must be", 1)
    # The settings' own checks begin with the name of the field that they refuse.
    text = str(error["ctx"]["error"])
    name, _, rest = text.partition(" ")
    if name in hints(_kind_at(location)):
        return (*location, name), rest
    return location, text


def _kind_at(location: Key) -> Any:
    kind: Any = Experiment
    for name in location:
        kind = inside(kind, name)
    return kind


def _inherited(values: Values, problems: list[str]) -> Values:
    """The values, each policy's tables complete. A table that a policy does not look at is a problem."""
    past: dict[str, str] = {}
    for key, given in list(values.items()):
        if key[0] != "policies" or len(key) < 3:
            continue
        kind = next((kind for kind in ("past", "frozen") if values.get((*key[:2], kind), _NOTHING).value), "")
        if kind == "past":
            past[key[1]] = str(values[(*key[:2], "past")].value)
        if (key[2] == "learner" and kind) or (key[2] == "agent" and kind == "past"):
            why = "it acts as the one that it is a past one of" if kind == "past" else "it is not trained"
            problems.append(f"{dotted(key)} = {given.shown} ({given.origin}): a {kind} policy has none; {why}")
            del values[key]
    return dict(_flat(inherit(_tree(values), past), ()))


def _tree(values: Values) -> dict[str, Any]:
    """The values as nested tables."""
    tree: dict[str, Any] = {}
    for key, given in values.items():
        table = tree
        for name in key[:-1]:
            table = table.setdefault(name, {})
        if given.value == {}:
            table.setdefault(key[-1], {})
        else:
            table[key[-1]] = given
    return tree


def _flat(tree: Mapping[str, Any], behind: Key) -> Iterator[tuple[Key, Given]]:
    for name, value in tree.items():
        key = (*behind, name)
        if not isinstance(value, dict):
            yield key, value
        elif value:
            yield from _flat(value, key)
        else:
            yield key, Given({}, "")


def _nest(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, given in values.items():
        table = tree
        for name in key[:-1]:
            table = table.setdefault(name, {})
        table[key[-1]] = dict(given.value) if given.value == {} else given.value
    return tree


def _wanted(key: Key) -> str:
    if key == ("environment", "id"):
        return 'name an environment, such as id = "CartPole-v1" under [environment]'
    return "it has no default"
