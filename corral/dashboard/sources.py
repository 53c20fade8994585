"""What the page watches: runs and servers, as a person names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.launch.cast import server_names
from corral.launch.errors import UserError
from corral.launch.folder import experiment_source, goes_on, learner_address, newest_run, server_addresses
from corral.launch.whereabouts import find_servers

MOST = 8
"""Sources on one page: each is asked every second, and has charts of its own."""


@dataclass(frozen=True)
class Source:
    """One server, or several of one run, and their learner where that is known.

    Attributes:
      name: for a person.
      addresses: "server" ("server-0", "server-1" ... of several) and "learner" -> where it answers.
      folder: the run's, where it is one of this machine.
      file: the experiment file that settings can be written to, or None.
    """

    name: str
    addresses: Mapping[str, str]
    folder: Path | None = None
    file: Path | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of its servers."""
        return tuple(name for name in self.addresses if name != "learner")


def find_sources(
    wheres: Sequence[str], *, learner: str | None = None, file: Path | None = None, runs: Path = Path("runs")
) -> list[Source]:
    """The sources that `wheres` name.

    Args:
      wheres: as `find_servers` takes them; none takes the newest run that goes on in `runs`.
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
    servers = find_servers(where)
    folder = Path(where)
    if "://" not in where and folder.is_dir():
        return of_run(folder, file)
    return Source(where, _named(servers) | ({"learner": learner} if learner else {}), None, file)


def of_run(folder: Path, file: Path | None = None) -> Source:
    """The run in `folder`."""
    return Source(folder.resolve().name, addresses_of(folder), folder, experiment_source(folder) or file)


def addresses_of(folder: Path) -> dict[str, str]:
    """Where servers and learner of the run in `folder` answer, as one connects to them from here."""
    found = {**_named(server_addresses(folder)), "learner": learner_address(folder)}
    return {role: re.sub(r"^tcp://(\*|0\.0\.0\.0):", "tcp://127.0.0.1:", at) for role, at in found.items() if at}


def _named(servers: Sequence[str]) -> dict[str, str]:
    """The addresses of servers by their names, as the launcher calls them."""
    return dict(zip(server_names(len(servers)), servers, strict=True))


def has_ended(source: Source) -> bool:
    """Whether it is a run of this machine that goes on no more."""
    return source.folder is not None and not (source.folder.is_dir() and goes_on(source.folder))
