"""One process of a run on a cluster, as the launcher sees it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corral.cluster.papers import Picture, Seat
from corral.launch.cast import Part
from corral.launch.process import Process


class RemoteProcess(Process):
    """See the module. Where it is may change while it goes on; that is its supervisor's business, and no restart.

    Args:
      picture: the newest picture of the run.
      order: calls a method of the directory, and does not wait for it.
      place: asks the cluster for a place for its supervisor.
    """

    def __init__(
        self,
        part: Part,
        log: Path,
        *,
        grace_s: float,
        picture: Callable[[], Picture],
        order: Callable[..., Any],
        place: Callable[[Part], None],
    ) -> None:
        super().__init__(part.name, log, grace_s=grace_s)
        self._part = part
        self._picture = picture
        self._order = order
        self._place = place
        self._lives = 0
        self._ended = False

    def start(self) -> None:
        """Ask for a place, and start it there as soon as there is one and everybody it needs has one too."""
        self._order("start", self.name)
        if not self._lives:
            self._place(self._part)
        self._lives += 1

    def poll(self) -> int | None:
        """See `Process`; what is reported of an earlier life does not count."""
        if self._ended:
            return -signal.SIGKILL
        seat = self.seat
        return seat.report.code if seat is not None and seat.report.lives == self._lives else None

    @property
    def seat(self) -> Seat | None:
        """Where it is; None before it has a place."""
        return self._picture().seats.get(self.name)

    @property
    def alive(self) -> bool:
        """See `Process`. One that has never had a place has never lived."""
        return not self._ended and self.seat is not None and self.poll() is None

    @property
    def pid(self) -> int | None:
        """See `Process`."""
        return None if self.seat is None else self.seat.report.pid

    def terminate(self) -> None:
        """See `Process`; it is not started any more."""
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """See `Process`."""
        self._order("signal", self.name, int(number))

    def tell(self, line: str) -> None:
        """See `Process`."""
        self._order("tell", self.name, line)

    def kill(self) -> None:
        """See `Process`: its supervisor hears that it is none of the run's any more, ends it and leaves."""
        if not self._ended and self._lives:
            self._ended = True
            self._order("remove", self.name)

    def _start_again(self) -> None:
        self.start()
