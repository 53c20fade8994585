"""What the shell offers behind Tab: experiment files, runs, policies, and keys with their sentences.

Nothing here loads a framework, and nothing here fails: where nothing is known, the shell offers files.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import typer

RUNS = "runs"
"""Where run folders are looked for: what `run.folder` is unless it is set."""
SETTABLE = ("server.batching.timeout_us", "server.batching.max_size", "server.batching.buckets")
"""What `corral set` changes."""
_WIDTH = 76

Offer: TypeAlias = tuple[str, str]
"""A completion, and a sentence that zsh and fish show beside it."""


def one_of(*words: str) -> Callable[[str], list[str]]:
    """Offers these words."""

    def offered(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offered


def experiments(incomplete: str) -> list[str]:
    """Experiment files: those in the folder that is being typed; before that, those here and in `examples`."""
    places = [Path(incomplete).parent] if os.sep in incomplete else [Path(), Path("examples")]
    found = [path for place in places for path in place.glob("*.toml") if path.name != "pyproject.toml"]
    return sorted(str(path) for path in found if str(path).startswith(incomplete))


def runs(incomplete: str) -> list[Offer]:
    """Folders of runs in `runs`, the newest first."""
    from corral.launch.folder import RUN

    begun = sorted(Path(RUNS).glob(f"*/{RUN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    folders = [path.parent for path in begun if str(path.parent).startswith(incomplete)]
    return [(str(folder), _state(folder)) for folder in folders]


def policies(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the policies of the experiment, or of the run, that was named before."""
    # While an option waits for its value, what stands before it has not been taken for anything yet.
    words = [context.params.get("experiment"), context.params.get("run"), *context.args]
    named = next((Path(word) for word in words if word and Path(word).exists()), None)
    names = [] if named is None else _policies_of(named)
    return [name for name in names if name.startswith(incomplete)]


def overrides(incomplete: str) -> list[Offer]:
    """Keys of the experiment, as far as they are typed; behind a key its values where they can be told."""
    from corral.launch.experiment import Experiment
    from corral.launch.sources import all_keys, dotted

    return _assignments(map(dotted, all_keys(Experiment)), incomplete)


def changes(incomplete: str) -> list[Offer]:
    """The same, of what a running server can change."""
    return _assignments(SETTABLE, incomplete)


def _assignments(keys: Iterable[str], incomplete: str) -> list[Offer]:
    key, is_whole, _ = incomplete.partition("=")
    fitting = [known for known in keys if known == key or (not is_whole and known.startswith(key))]
    offers = [(f"{known}=", _about(known)) for known in fitting]
    if len(fitting) == 1:
        values = [(f"{fitting[0]}={value}", "") for value in _values(fitting[0])]
        offers = values if is_whole else offers + values
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def _about(key: str) -> str:
    if os.environ.get("_CORRAL_COMPLETE") == "complete_bash":
        return ""  # which shows none, and they take time to find
    from rich.markup import escape

    from corral.launch.document import about

    # As zsh takes it: a line, without quotation marks.
    sentence = about(tuple(key.split("."))).replace('"', "")
    return escape(textwrap.shorten(sentence, _WIDTH, placeholder=" ..."))


def _values(key: str) -> Iterator[str]:
    """What a key can be, or what it is if nobody says anything."""
    from corral.launch.document import choices, default, kind_at

    path = tuple(key.split("."))
    known: list[Any] = [True, False] if kind_at(path) is bool else choices(kind_at(path))
    if not known and isinstance(usual := default(path), int | float | str) and usual != "":
        known = [usual]
    for value in known:
        yield str(value).lower() if isinstance(value, bool) else str(value)


def _state(folder: Path) -> str:
    from corral.launch.folder import goes_on

    try:
        return "goes on" if goes_on(folder) else "ended"
    except OSError:
        return ""


def _policies_of(named: Path) -> list[str]:
    from corral.launch.errors import UserError
    from corral.launch.folder import POLICIES
    from corral.launch.sources import read_file

    if named.is_dir():
        return sorted(folder.name for folder in named.glob(f"{POLICIES}/*/"))
    try:
        return list(read_file(named).get("policies", {}))
    except UserError:
        return []
