"""A bad network between two sockets: drops, doubles, delays and reorders whole messages, by a seeded plan."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from types import TracebackType
from typing import NamedTuple

import zmq

from corral.protocol import open_dealer, open_router


class Direction(NamedTuple):
    """One way of one connection: its number in order of appearance, and whether it leads to the server."""

    peer: int
    forth: bool


class BadNetwork(threading.Thread):
    """Carries messages between whoever connects to `front` and the ROUTER at `back`, badly.

    What becomes of the n-th message of a direction follows from the seed, the number of its connection and n alone,
    whatever else happens meanwhile: the same seed repeats the same faults.

    Args:
      drop, double, hold, delay: probabilities for each message, either way; one that is held back arrives after the
        next one of its direction, out of order; one that is delayed arrives up to `delay_s` seconds later, and
        others overtake it.
      drops: at most so many messages are dropped.
    """

    def __init__(
        self,
        front: str,
        back: str,
        *,
        drop: float,
        double: float,
        hold: float,
        seed: int,
        delay: float = 0.0,
        delay_s: float = 0.02,
        drops: int = 10**9,
    ) -> None:
        super().__init__(name="bad-network", daemon=True)
        self._context = zmq.Context()
        self._front = open_router(self._context, front)
        self._back_address = back
        self._peers: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._backs: list[zmq.Socket] = []
        self._chances = (drop, double, hold, delay)
        self._delay_s = delay_s
        self._drops_left = drops
        self._seed = seed
        self._plans: dict[Direction, random.Random] = {}
        self._held: dict[Direction, list[bytes]] = {}
        self._late: list[tuple[float, int, Direction, list[bytes]]] = []
        self._counter = itertools.count()
        self._stopping = threading.Event()
        self.carried = self.dropped = self.doubled = self.reordered = self.delayed = 0

    def __enter__(self) -> BadNetwork:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self.join(10)

    @property
    def faults(self) -> dict[str, int]:
        """What was done so far to how many messages."""
        names = ("carried", "dropped", "doubled", "reordered", "delayed")
        return {name: getattr(self, name) for name in names}

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(self._nap_ms()))
            if self._front in ready:
                peer, *frames = self._front.recv_multipart()
                if peer not in self._numbers:
                    self._numbers[peer] = len(self._backs)
                    self._peers.append(peer)
                    self._backs.append(open_dealer(self._context, self._back_address))
                    poller.register(self._backs[-1], zmq.POLLIN)
                self._carry(Direction(self._numbers[peer], True), frames)
            for number, back in enumerate(self._backs):
                if back in ready:
                    self._carry(Direction(number, False), back.recv_multipart())
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, way, frames = heapq.heappop(self._late)
                self._send(way, frames)
        self._context.destroy(linger=0)

    def _nap_ms(self) -> int:
        if not self._late:
            return 50
        return max(0, min(50, int((self._late[0][0] - time.monotonic()) * 1e3) + 1))

    def _carry(self, way: Direction, frames: list[bytes]) -> None:
        plan = self._plans.setdefault(way, random.Random(f"{self._seed}/{way.peer}/{way.forth}"))
        drop, double, hold, delay = (plan.random() < chance for chance in self._chances)
        later_s = plan.random() * self._delay_s
        self.carried += 1
        if drop and self._drops_left > 0:
            self._drops_left -= 1
            self.dropped += 1
            return
        held = self._held.pop(way, None)
        if hold and held is None:
            self.reordered += 1
            self._held[way] = frames
            return
        self.doubled += double
        self.delayed += delay
        for message in [frames] * (1 + double):
            if delay:
                heapq.heappush(self._late, (time.monotonic() + later_s, next(self._counter), way, message))
            else:
                self._send(way, message)
        if held:
            self._send(way, held)

    def _send(self, way: Direction, frames: list[bytes]) -> None:
        if way.forth:
            self._backs[way.peer].send_multipart(frames)
        else:
            self._front.send_multipart([self._peers[way.peer], *frames])
