"""Which of several servers a session should be with: decided by each actor for itself, from what it heard."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PERIOD_S = 4.0
"""Seconds between two rounds of questions, on average: a quarter more or less by chance."""
SETTLE_S = 1.0
"""Seconds for which servers that are not ready yet are waited for, once the first is."""
GAIN = 0.7
"""Part of what a server has above the mean that its sessions mean to take away in one round."""
TOLERANCE = 0.1
"""Part of the mean load by which two servers may differ: to move costs the open episodes and unrolls."""
_OVERDUE_S = 0.5
"""Seconds after which a round goes on without those that have not answered."""


@dataclass
class _Server:
    """What is known of one server.

    Attributes:
      taken: environments that it steps.
      slots: how many it can step.
      open: whether it lets actors in, room permitting.
      asked: when it was asked last.
      waiting_since: when the first question was asked that it has not answered; infinite where it owes none.
    """

    taken: int = 0
    slots: int = 0
    open: bool = False
    asked: float = -math.inf
    waiting_since: float = math.inf


class Balance:
    """Spreads sessions over servers, without a word between actors. No sockets, no threads.

    Everybody is asked seldom. Sessions decide right after a round of answers, once a round each, and move by a
    chance that takes away `GAIN` of what their server has too much, if all of its sessions draw alike: so a crowd
    does not run from one side to the other. Servers that differ by a session, or by `TOLERANCE`, are level.

    Args:
      addresses: of the servers, different ones.
      silent_after_s: seconds without an answer after which a server counts as gone.
      home: which server to join first where loads are equal; None leaves that to chance.
      clock: seconds, monotonic.
      chance: what decides.

    Attributes:
      round: how many rounds of answers are complete.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        silent_after_s: float,
        home: int | None = None,
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._servers = {address: _Server() for address in addresses}
        self._silent_after_s = silent_after_s
        self._home = None if home is None else addresses[home % len(addresses)]
        self._clock = clock
        self._chance = chance
        self._next_round = clock()
        self._round_began: float | None = None
        self._first_open = math.inf
        self._settled = False
        self.round = 0

    def due(self) -> list[str]:
        """Whom to ask now; they count as asked. Call it a few times a second."""
        now = self._clock()
        self._close_round(now)
        asked = [address for address, server in self._servers.items() if server.asked == -math.inf]
        if now >= self._next_round:
            self._next_round = now + PERIOD_S * self._chance.uniform(0.75, 1.25)
            self._round_began = now
            asked = list(self._servers)
        for address in asked:
            server = self._servers[address]
            server.asked, server.waiting_since = now, min(server.waiting_since, now)
        return asked

    def heard(self, address: str, taken: int, slots: int) -> None:
        """A server lets actors in: it steps `taken` environments, and `slots` at most."""
        now = self._clock()
        server = self._servers[address]
        server.taken, server.slots, server.open, server.waiting_since = taken, slots, True, math.inf
        self._first_open = min(self._first_open, now)
        self._close_round(now)

    def refused(self, address: str) -> None:
        """A server answers, and lets no actor in for the time being: it drains, or has no weights yet."""
        server = self._servers[address]
        server.open, server.waiting_since = False, math.inf
        self._close_round(self._clock())

    def full(self, address: str) -> None:
        """A server had no room for a session after all."""
        server = self._servers[address]
        server.taken = max(server.taken, server.slots)

    def doubt(self, address: str) -> None:
        """A server keeps a session waiting: ask it now, unless it owes an answer already."""
        server = self._servers[address]
        if server.waiting_since == math.inf and self._clock() - server.asked >= _OVERDUE_S:
            server.asked = -math.inf

    def gone(self, address: str) -> bool:
        """Whether a server has been silent for too long."""
        return self._clock() - self._servers[address].waiting_since > self._silent_after_s

    def choose(self, environments: int) -> str | None:
        """The server that a new session should be with: the least loaded that has room; None where none has.

        Near ties, by less than the session itself, are broken at random.
        """
        if not self._has_settled():
            return None
        free = {address: server for address, server in self._here().items() if _has_room(server, environments)}
        if not free:
            return None
        least = min(server.taken for server in free.values())
        ties = [address for address, server in free.items() if server.taken < least + environments]
        chosen = self._home if self._home in ties else self._chance.choice(ties)
        self._home = None  # where it begins; later chance does better
        self._servers[chosen].taken += environments
        return chosen

    def move(self, address: str, environments: int) -> str | None:
        """Where a session should go on that has been with `address`; None where it should stay.

        Ask once for each session and `round`.
        """
        here = self._here()
        if address not in here or len(here) < 2:
            return None
        own = here[address].taken
        mean = sum(server.taken for server in here.values()) / len(here)
        least = max(environments, TOLERANCE * mean)
        better = {
            other: max(mean - server.taken, 0.0)
            for other, server in here.items()
            if own - server.taken > least and _has_room(server, environments)
        }
        if not any(better.values()) or self._chance.random() >= GAIN * (own - mean) / own:
            return None
        (chosen,) = self._chance.choices(list(better), list(better.values()))
        here[address].taken -= environments
        here[chosen].taken += environments
        return chosen

    def _here(self) -> dict[str, _Server]:
        """The servers that let actors in, as far as is known."""
        return {a: server for a, server in self._servers.items() if server.open and not self.gone(a)}

    def _has_settled(self) -> bool:
        """Whether it is known who is there; later on, a server that comes is found by moving."""
        if all(server.open for server in self._servers.values()) or self._clock() >= self._first_open + SETTLE_S:
            self._settled = True
        return self._settled

    def _close_round(self, now: float) -> None:
        if self._round_began is None:
            return
        answered = all(server.waiting_since == math.inf for server in self._servers.values())
        if answered or now - self._round_began >= _OVERDUE_S:
            self._round_began = None
            self.round += 1


def _has_room(server: _Server, environments: int) -> bool:
    return server.slots - server.taken >= environments
