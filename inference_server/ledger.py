"""Counts that outlive the process, however it dies: a small file that is mapped into memory."""

from __future__ import annotations

import logging
import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

_FIELDS = 4


@dataclass(frozen=True)
class Entry:
    """What one server's ledger says.

    Attributes:
      completed: environment steps that it had taken in.
      dropped: those of them that are in no unroll, and never will be: their sessions ended, or they were shed.
      accepted: those that the learner had accepted, as far as the server knew.
      closed: whether it came to a regular end; else it was killed, or is still there.
    """

    completed: int
    dropped: int
    accepted: int
    closed: bool


class Ledger:
    """One server's counts, in a file named by its identity. A disk that is full costs the file, not the server.

    Args:
      folder: where the files of all servers of a run lie; None keeps no books.
      identity: the server's.
    """

    def __init__(self, folder: Path | None, identity: int) -> None:
        self._counts = np.zeros(_FIELDS, np.uint64)
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{identity:016x}").open("w+b") as file:
                file.write(bytes(self._counts.nbytes))  # a page that is there: a hole could not be filled later
                file.flush()
                # What is written here belongs to the system at once: it is in the file even after SIGKILL.
                self._counts = np.frombuffer(mmap.mmap(file.fileno(), self._counts.nbytes), np.uint64)
        except OSError as error:
            log.error("no ledger could be made in %s, so that losses will not be counted: %s", folder, error)

    def note(self, completed: int, dropped: int, accepted: int) -> None:
        """How it stands now; see `Entry`."""
        self._counts[:3] = completed, dropped, accepted

    def close(self) -> None:
        """The server ends as it should."""
        self._counts[3] = 1


def read_ledgers(folder: Path) -> dict[int, Entry]:
    """Server identity to what its ledger says; nothing where there are none. A file that is none is passed over."""
    entries = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        try:
            completed, dropped, accepted, closed = np.frombuffer(path.read_bytes(), np.uint64).tolist()
            entries[int(path.name, 16)] = Entry(completed, dropped, accepted, bool(closed))
        except (OSError, ValueError) as error:
            log.warning("%s is no ledger: %s", path, error)
    return entries
