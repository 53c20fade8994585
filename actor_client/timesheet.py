"""Where an actor's time goes: into its environments, or into waiting for the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from corral.protocol import Work
from corral.telemetry import Board

SHOW_EVERY_S = 0.25


class _Sums(NamedTuple):
    """What one part has come to."""

    environment_s: float = 0.0
    requests: int = 0
    steps: int = 0


class _Moment(NamedTuple):
    """What has been counted until `since`, and what goes on from there: part `busy` is stepped, or all wait."""

    parts: tuple[_Sums, ...]
    wait_s: float
    since: float
    busy: int | None

    def at(self, now: float) -> _Moment:
        """The same, with what went on until `now` counted."""
        if self.busy is None:
            return self._replace(wait_s=self.wait_s + now - self.since, since=now)
        sums = self.parts[self.busy]
        return self.having(self.busy, sums._replace(environment_s=sums.environment_s + now - self.since), now)

    def having(self, part: int, sums: _Sums, since: float) -> _Moment:
        """The same, with other sums of one part."""
        return self._replace(parts=(*self.parts[:part], sums, *self.parts[part + 1 :]), since=since)

    def work(self, part: int) -> Work:
        """What one part has come to; of the time in which all wait, each has the same share."""
        sums = self.parts[part]
        return Work(sums.environment_s, self.wait_s / len(self.parts), sums.requests, sums.steps)


class Timesheet:
    """Stretches of time that take turns: one part is stepped, or all parts wait. Belongs to one thread; any may ask
    for `work`.

    Args:
      board: where to show the sums; None shows them to nobody.
      parts: that the environments are divided into, each with a session.
      clock: seconds, monotonic.

    Attributes:
      rejoins: sessions that were joined again, of all parts.
      moves: those of them that went on with another server.
    """

    def __init__(self, board: Board | None, parts: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._clock = clock
        self._show_at = 0.0
        self._has_session = [False] * parts
        self.rejoins = self.moves = 0
        # Replaced whole, never changed: another thread sees one moment.
        self._moment = _Moment((_Sums(),) * parts, 0.0, clock(), 0)
        self._joined = [self._moment.work(part) for part in range(parts)]

    def session(self, part: int, has_one: bool) -> None:
        """A part's session has begun, or ended."""
        now = self._clock()
        joined = self._moment.at(now).work(part)
        self.rejoins += has_one and joined.steps > 0
        self._joined[part] = joined
        self._has_session[part] = has_one
        self._show_at = 0.0
        self._show(now)

    def waits(self) -> None:
        """From here on nothing can be done but wait."""
        now = self._clock()
        self._moment = self._moment.at(now)._replace(busy=None)
        self._show(now)

    def works(self, part: int, steps: int = 0) -> None:
        """From here on this part's environments work. With `steps`, the answer for so many is here."""
        moment = self._moment.at(self._clock())
        sums = moment.parts[part]
        if steps:
            sums = sums._replace(requests=sums.requests + 1, steps=sums.steps + steps)
        self._moment = moment.having(part, sums, moment.since)._replace(busy=part)

    def work(self, part: int) -> Work:
        """What has been done since the part's session began, until now."""
        work, joined = self._moment.at(self._clock()).work(part), self._joined[part]
        return Work(
            environment_s=max(work.environment_s - joined.environment_s, 0.0),
            wait_s=max(work.wait_s - joined.wait_s, 0.0),
            requests=work.requests - joined.requests,
            steps=work.steps - joined.steps,
        )

    def _show(self, now: float) -> None:
        if self._board is None or now < self._show_at:
            return
        self._show_at = now + SHOW_EVERY_S
        moment = self._moment
        samples = {
            "actor_steps_total": sum(sums.steps for sums in moment.parts),
            "actor_environment_seconds_total": sum(sums.environment_s for sums in moment.parts),
            "actor_wait_seconds_total": moment.wait_s,
            "actor_rejoins_total": self.rejoins,
            "actor_moves_total": self.moves,
        }
        self._board.show(samples, not_ready="" if all(self._has_session) else "no session with a server")
