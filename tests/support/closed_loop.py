"""A server and its actors, simulated: slow, obvious, and the same every time. Time is a number that is moved on.

One thread receives, batches, computes and answers, as in `inference_server.server`. Actors think, ask, and wait for
the answer. Where they share the server's cores, they think only while it does not compute.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from inference_server.batcher import Batcher
from inference_server.settings import BatchingSettings

Think = Callable[[Random, float], float]
"""Seconds until an actor's next request, given chance and the time."""


@dataclass(frozen=True)
class Load:
    """What a server meets.

    Attributes:
      think: one for each actor.
      fixed_s, row_s: what a batch costs, and each row in it; as many rows as the bucket has.
      receive_s: of each request, before it is in a batch.
      travel_s: of an answer and the next request together.
      rows: of one request.
      max_size: rows at which a batch is full.
      known: whether the server knows its actors, and so when all are there.
      shared: the part of their speed that thinking actors lose while the server computes.
      jitter: deviation of a batch's cost, as a part of it.
      seed: of all chances.
    """

    think: Sequence[Think]
    fixed_s: float
    row_s: float
    receive_s: float = 10e-6
    travel_s: float = 50e-6
    rows: int = 1
    max_size: int = 64
    known: bool = False
    shared: float = 0.0
    jitter: float = 0.05
    seed: int = 0


@dataclass
class Outcome:
    """What came of it: rows, batches, and which timeouts stood, each with the time from which on."""

    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    timeouts: list[tuple[float, int]] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return self.rows / self.seconds

    def share_of_time(self, timeout_us: int) -> float:
        """How much of the time `timeout_us` stood."""
        ends = [begun for begun, _ in self.timeouts[1:]] + [self.seconds]
        return (
            sum(end - begun for (begun, stood), end in zip(self.timeouts, ends, strict=True) if stood == timeout_us)
            / self.seconds
        )


class Simulation:
    """One server under one load."""

    def __init__(self, load: Load, timeout_us: int | Literal["auto"]) -> None:
        self.now = 0.0
        self._load = load
        self._random = Random(load.seed)
        self._batcher = Batcher(BatchingSettings(timeout_us=timeout_us, max_size=load.max_size), lambda: self.now)
        self._lived = 0.0  # seconds in which actors could think
        self._thinking = [(think(self._random, 0.0), actor) for actor, think in enumerate(load.think)]
        heapq.heapify(self._thinking)
        self._waiting: list[tuple[float, int]] = []
        self._sizes = BatchingSettings(max_size=load.max_size).bucket_sizes()
        self._buckets = [next(size for size in self._sizes if size >= rows) for rows in range(load.max_size + 1)]

    def run(self, seconds: float) -> Outcome:
        """Serve for so long."""
        outcome = Outcome(seconds=seconds, timeouts=[(0.0, self._batcher.timeout_us)])
        live = len(self._load.think) if self._load.known else 0
        while self.now < seconds:
            self._receive()
            if self._batcher.reason(live):
                outcome.rows += self._serve()
                outcome.batches += 1
                if self._batcher.timeout_us != outcome.timeouts[-1][1]:
                    outcome.timeouts.append((self.now, self._batcher.timeout_us))
            else:
                self._sleep()
        return outcome

    def _receive(self) -> None:
        """Take in everything that has arrived, also meanwhile."""
        while self._thinking and self._thinking[0][0] <= self._lived:
            _, actor = heapq.heappop(self._thinking)
            self._pass(self._load.receive_s)
            self._waiting.append((self.now, actor))
            self._batcher.add(self._load.rows)

    def _sleep(self) -> None:
        """Until the next request, or the timeout."""
        until_next = self._thinking[0][0] - self._lived if self._thinking else 1.0
        timeout_s = self._batcher.wait_s()
        step = until_next if timeout_s is None else min(until_next, timeout_s)
        self.now += step
        self._lived += step
        # A sum that falls just short of the timeout would be slept for again and again.
        if step == timeout_s:
            self.now += 1e-9

    def _serve(self) -> int:
        """Compute a batch and answer it; its rows."""
        load = self._load
        count = min(len(self._waiting), max(load.max_size // load.rows, 1))
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        rows = count * load.rows
        self._batcher.take(rows, count, self._waiting[0][0] if self._waiting else None)
        cost = load.fixed_s + load.row_s * self._buckets[rows]
        cost *= max(0.2, self._random.gauss(1, load.jitter))
        self._pass(cost)
        self._batcher.computed(rows, cost)
        for _, actor in batch:
            pause = load.think[actor](self._random, self.now) + load.travel_s
            heapq.heappush(self._thinking, (self._lived + pause, actor))
        return rows

    def _pass(self, seconds: float) -> None:
        """The server works: actors on the same cores are slower meanwhile."""
        self.now += seconds
        self._lived += seconds * (1 - self._load.shared)


def rows_per_s(load: Load, timeout_us: int | Literal["auto"], seconds: float) -> float:
    """Rows that a server answers per second of `seconds`."""
    return Simulation(load, timeout_us).run(seconds).per_s
