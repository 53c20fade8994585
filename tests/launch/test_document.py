"""Experiment files as Corral writes them: values that TOML reads back, under comments of one line."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from math import inf
from typing import Any, Literal

import pytest

from corral.launch import document
from corral.launch.document import about, absent, comment, entry, heading, toml
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, hints
from corral.launch.sources import Key, dotted


def keys(kind: Any = Experiment, table: Key = ()) -> Iterator[Key]:
    """Every table and key of an experiment."""
    for name, inner in hints(kind).items():
        yield (*table, name)
        if is_dataclass(inner):
            yield from keys(inner, (*table, name))


@pytest.mark.parametrize("key", list(keys()), ids=dotted)
def test_every_key_says_what_it_is(key: Key) -> None:
    text = about(key)
    assert text.endswith(".")
    assert "\n" not in text
    assert "(" not in text.split()[0], "a docstring that Python made up"


def test_the_words_are_those_of_the_settings_modules() -> None:
    assert about(("learner", "keep_checkpoints")) == "Newest checkpoints to keep."
    assert about(("agent", "network", "build")).startswith('"my_package.my_module:function" that makes a network')
    assert about(("agent", "network", "build")).endswith("in place of the one above.")
    assert about(("server",)) == "The inference server: its address, its actors, its batches."


def test_choices_are_told() -> None:
    assert about(("agent", "optimizer", "name")) == 'Which Keras optimizer. One of "adam", "rmsprop", "sgd".'
    assert about(("server", "insecure")).endswith("without keys.")


@dataclass
class Table:
    """A table (Somebody et al. 2018) of tests. This is not told."""

    silent: int = 0
    open: int | Literal["a"] | None = None
    """An open choice."""
    choice: Literal["a", 1] | None = None
    """A choice. "More" about it."""
    spread: int = 0
    """Over
    lines, with e.g. an abbreviation. And more."""


@dataclass
class Whole:
    table: Table


def test_the_first_sentence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "Experiment", Whole)
    assert about(("table",)) == "A table (Somebody et al. 2018) of tests."
    assert about(("table", "silent")) == ""
    assert about(("table", "choice")) == 'A choice. One of "a", 1.'
    assert about(("table", "open")) == "An open choice."
    assert about(("table", "spread")) == "Over lines, with e.g. an abbreviation."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", '"plain"'),
        ('a "b" \\ \n', '"a \\"b\\" \\\\ \\n"'),
        (True, "true"),
        (10, "10"),
        (0.1, "0.1"),
        (inf, "inf"),
        ((64, 64), "[64, 64]"),
        ((), "[]"),
        ({}, "{}"),
        ({"a": {"b": [1, {"c d": 2.5}]}}, '{a = {b = [1, {"c d" = 2.5}]}}'),
    ],
)
def test_values_as_toml_writes_them(value: Any, text: str) -> None:
    assert toml(value) == text


@pytest.mark.parametrize("value", ["\x7f\x00", "é😀", 1e-5, -inf, [{"a": [{}]}], {"x": datetime.date(2024, 1, 2)}])
def test_values_come_back(value: Any) -> None:
    line = f"value = {toml({'inner': value})}"
    assert "\n" not in line
    assert tomllib.loads(line)["value"]["inner"] == value


def test_the_lines_of_tables_and_keys() -> None:
    assert list(heading(("server", "unrolls")))[-1] == "[server.unrolls]"
    assert list(entry(("run", "seed"), 3, "why")) == [
        "# Seeds the networks, the environments and the exploration.",
        "seed = 3  # why",
    ]
    assert list(absent(("run", "seed"), "<int>"))[1] == "# seed = <int>"


def test_what_toml_cannot_say_is_named() -> None:
    with pytest.raises(UserError, match=r"environment\.kwargs = {'a': None} cannot be written as TOML: "):
        list(entry(("environment", "kwargs"), {"a": None}))


def test_a_comment_stays_on_its_line() -> None:
    assert comment("a\nseed = 5\x00\u2028") == "# a seed = 5  "
