"""What the page watches: runs and servers, as a person names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.folder import experiment_source, goes_on, learner_address, newest_run, server_address
from corral.launch.whereabouts import find_server

MOST = 8
"""Sources on one page: each is asked every second, and has charts of its own."""


@dataclass(frozen=True)
class Source:
    """One server, and its learner where that is known.

    Attributes:
      name: for a person.
      addresses: "server" and "learner" -> where it answers.
      folder: the run's, where it is one of this machine.
      file: the experiment file that settings can be written to, or None.
    """

    name: str
    addresses: Mapping[str, str]
    folder: Path | None = None
    file: Path | None = None


def find_sources(
    wheres: Sequence[str], *, learner: str | None = None, file: Path | None = None, runs: Path = Path("runs")
) -> list[Source]:
    """The sources that `wheres` name.

    Args:
      wheres: as `find_server` takes them; none takes the newest run that goes on in `runs`.
      learner: the learner's address, of servers that are named by theirs.
      file: the experiment file of whatever has none of its own.

    Raises:
      UserError: one of them is nothing, no run goes on, or there are too many.
    """
    if not wheres:
        folder = newest_run(runs)
        if folder is None:
            raise UserError(
                f"no run goes on in {runs}/: start one (corral run), or name a server or a run's folder"
            )
        wheres = [str(folder)]
    if len(wheres) > MOST:
        raise UserError(f"{len(wheres)} servers and runs are too many for one page: at most {MOST}")
    return [_source(where, learner, file) for where in dict.fromkeys(wheres)]


def _source(where: str, learner: str | None, file: Path | None) -> Source:
    server = find_server(where)
    folder = Path(where)
    if "://" not in where and folder.is_dir():
        return of_run(folder, file)
    return Source(where, {"server": server} | ({"learner": learner} if learner else {}), None, file)


def of_run(folder: Path, file: Path | None = None) -> Source:
    """The run in `folder`."""
    return Source(folder.resolve().name, addresses_of(folder), folder, experiment_source(folder) or file)


def addresses_of(folder: Path) -> dict[str, str]:
    """Where server and learner of the run in `folder` answer, as one connects to them from here."""
    found = {"server": server_address(folder), "learner": learner_address(folder)}
    return {role: re.sub(r"^tcp://(\*|0\.0\.0\.0):", "tcp://127.0.0.1:", at) for role, at in found.items() if at}


def has_ended(source: Source) -> bool:
    """Whether it is a run of this machine that goes on no more."""
    return source.folder is not None and not (source.folder.is_dir() and goes_on(source.folder))
