"""What a run has lost: environment steps that a server took in, and that no training came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from corral.launch.folder import LEDGERS


@dataclass(frozen=True)
class Books:
    """Where the environment steps are that one server, or all of a run, took in.

    Attributes:
      completed: all of them: the sum of the others.
      accepted: in unrolls that the learner accepted, and has not lost again.
      dropped: their session ended before their unroll was complete, or they were shed.
      lost_with_learner: accepted by a learner that died, after its last checkpoint.
      lost_with_server: in unrolls that were not complete, or not accepted, when their server died.
      unfinished: the same, where the server ended with its run.
    """

    completed: int = 0
    accepted: int = 0
    dropped: int = 0
    lost_with_learner: int = 0
    lost_with_server: int = 0
    unfinished: int = 0

    @property
    def lost(self) -> int:
        """All that was lost."""
        return self.dropped + self.lost_with_learner + self.lost_with_server


def read_books(folder: Path, result: Mapping[str, Any], ledgers: Path | None = None) -> dict[str, Books]:
    """The books of each server that the run in `folder` has had, by identity; none where nobody kept any.

    Args:
      result: what its learner left.
      ledgers: where its servers kept their counts; None takes the folder's own place for them.
    """
    from inference_server.ledger import read_ledgers  # numpy: not before a run has ended

    by_server = result.get("steps_accepted")
    if by_server is None:
        return {}
    books = {}
    for identity, entry in read_ledgers(ledgers or folder / LEDGERS).items():
        name = f"{identity:016x}"
        accepted = int(by_server.get(name, 0))
        with_learner = max(entry.accepted - accepted, 0)  # the word of what was accepted last may not have come
        rest = entry.completed - accepted - entry.dropped - with_learner
        ends = {"unfinished": rest} if entry.closed else {"lost_with_server": rest}
        books[name] = Books(entry.completed, accepted, entry.dropped, with_learner, **ends)
    return books


def total(books: Iterable[Books]) -> Books:
    """All of them together."""
    columns = zip(*map(astuple, books), strict=True)
    return Books(*map(sum, columns))
