"""When clients ask: at once after an answer, after a while of thinking, or by a clock that waits for nobody."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import deque
from typing import Protocol


class Arrivals(Protocol):
    """Whose turn it is, and since when it has been due. Times are seconds of one clock."""

    def answered(self, client: int, now: float) -> float | None:
        """`client` has its answer: when the request that it should send at once was due; None for later."""
        ...

    def next_due(self) -> float:
        """When `due` will give something by time alone; infinity where never."""
        ...

    def due(self, now: float) -> tuple[int, float] | None:
        """A client that should send now, and since when its request has been due; None for none."""
        ...


class ClosedLoop:
    """Each client asks again when it has its answer, `think_s` later on average (50 to 150 % of it, evenly)."""

    def __init__(self, clients: int, think_s: float, seed: int) -> None:
        self._think_s = think_s
        self._random = random.Random(seed)
        self._due: list[tuple[float, int]] = [(-math.inf, client) for client in range(clients)]

    def answered(self, client: int, now: float) -> float | None:
        if not self._think_s:
            return now
        heapq.heappush(self._due, (now + self._think_s * self._random.uniform(0.5, 1.5), client))
        return None

    def next_due(self) -> float:
        return self._due[0][0] if self._due else math.inf

    def due(self, now: float) -> tuple[int, float] | None:
        if not self._due or self._due[0][0] > now:
            return None
        when, client = heapq.heappop(self._due)
        return client, max(when, now)  # a client that thinks is late by itself, not because of the server


class BusyLoop:
    """Each client computes for `think_s` of processor time on average (50 to 150 % of it, evenly) when it has its
    answer, as an environment does, and asks again then.

    Whoever else has an answer waits for that: for one client in each process.
    """

    def __init__(self, clients: int, think_s: float, seed: int) -> None:
        self._think_s = think_s
        self._random = random.Random(seed)
        self._begin = ClosedLoop(clients, 0.0, seed)

    def answered(self, client: int, now: float) -> float | None:
        # Not by the clock: what shares its core with others takes longer.
        end = time.thread_time() + self._think_s * self._random.uniform(0.5, 1.5)
        while time.thread_time() < end:
            pass
        return time.monotonic()

    def next_due(self) -> float:
        return self._begin.next_due()

    def due(self, now: float) -> tuple[int, float] | None:
        return self._begin.due(now)


class OpenLoop:
    """Requests fall due at random moments (a Poisson process), whatever the answers do.

    A request that finds every client waiting for an answer waits itself, and its latency counts from the moment
    it was due. Counting from when it was sent instead would leave out just the waiting that an overloaded
    server causes ("coordinated omission").
    """

    def __init__(self, clients: int, rate: float, seed: int, start: float) -> None:
        self._rate = rate
        self._random = random.Random(seed)
        self._free = deque(range(clients))
        self._overdue: deque[float] = deque()
        self._next = start + self._gap()

    @property
    def overdue(self) -> int:
        """Requests that are due and have found no client."""
        return len(self._overdue)

    def answered(self, client: int, now: float) -> float | None:
        self._advance(now)
        if self._overdue:
            return self._overdue.popleft()
        self._free.append(client)
        return None

    def next_due(self) -> float:
        return self._next

    def due(self, now: float) -> tuple[int, float] | None:
        self._advance(now)
        if not self._overdue or not self._free:
            return None
        return self._free.popleft(), self._overdue.popleft()

    def _advance(self, now: float) -> None:
        while self._next <= now:
            self._overdue.append(self._next)
            self._next += self._gap()

    def _gap(self) -> float:
        return self._random.expovariate(self._rate)
