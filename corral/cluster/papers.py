"""What directory, supervisors and launcher hand to each other, through Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.launch.experiment import Experiment

Addresses = Mapping[str, tuple[str, ...]]
"""Name of a process -> where it listens: a server at one address, a learner at two, for unrolls and for weights."""


@dataclass(frozen=True)
class Luggage:
    """What a process needs at its place, wherever that is.

    Attributes:
      run: the run's name.
      experiment: the run's, without addresses that hold.
      files: path within the run's folder -> contents: its `run.json`, and what it goes on from.
      keys: path within a folder of keys -> contents.
      environ: variables of the launcher's environment that its processes share.
    """

    run: str
    experiment: Experiment
    files: Mapping[str, bytes]
    keys: Mapping[str, bytes]
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Arrival:
    """A supervisor that has found its place.

    Attributes:
      supervisor: unguessable, and another one after each loss of a node.
      node: the IP address of its node.
      addresses: where its process will listen.
    """

    supervisor: str
    node: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """How a process does.

    Attributes:
      lives: how often it has been ordered to start, as far as its supervisor has heard and obeyed.
      code: its exit code; None where it has not ended.
      pid: on its node; None where it waits for addresses.
    """

    lives: int = 0
    code: int | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Orders:
    """What a supervisor shall do.

    Attributes:
      lives: how often the process shall have been started.
      signals: to send to it, once.
      lines: to write to its lifeline, once.
      addresses: of all processes that have a place.
    """

    lives: int
    signals: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    addresses: Addresses = field(default_factory=dict)


@dataclass(frozen=True)
class Seat:
    """Where a process is, and how it does there.

    Attributes:
      node: the IP address of its node.
      moves: how often it has been placed anew.
      report: the latest; of the present place.
      silent_s: seconds since then.
    """

    node: str
    moves: int
    report: Report
    silent_s: float = 0.0


@dataclass(frozen=True)
class Picture:
    """The whole run, as the directory knows it.

    Attributes:
      seats: of the processes that have a place, by name.
      actors: how many actor processes are wanted.
    """

    seats: Mapping[str, Seat]
    addresses: Addresses
    actors: int
