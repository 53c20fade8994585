"""A bad network between two sockets: drops, doubles and holds back whole messages, by a seeded plan."""

from __future__ import annotations

import random
import threading
from types import TracebackType

import zmq

from corral.protocol import open_dealer, open_router


class BadNetwork(threading.Thread):
    """Carries messages between whoever connects to `front` and the ROUTER at `back`, badly.

    Args:
      drop, double, hold: probabilities for each message, either way; one that is held back arrives after the
        next one of its direction, out of order.
      drops: at most so many messages are dropped.
    """

    def __init__(
        self, front: str, back: str, *, drop: float, double: float, hold: float, seed: int, drops: int = 10**9
    ) -> None:
        super().__init__(name="bad-network", daemon=True)
        self._context = zmq.Context()
        self._front = open_router(self._context, front)
        self._back_address = back
        self._backs: dict[bytes, zmq.Socket] = {}
        self._chances = (drop, double, hold)
        self._drops_left = drops
        self._random = random.Random(seed)
        self._held: dict[tuple[bytes, bool], list[bytes]] = {}
        self._stopping = threading.Event()
        self.dropped = self.doubled = self.reordered = 0

    def __enter__(self) -> BadNetwork:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self.join(10)

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        while not self._stopping.is_set():
            ready = dict(poller.poll(50))
            if self._front in ready:
                peer, *frames = self._front.recv_multipart()
                if peer not in self._backs:
                    self._backs[peer] = open_dealer(self._context, self._back_address)
                    poller.register(self._backs[peer], zmq.POLLIN)
                self._carry(peer, frames, forth=True)
            for peer, back in self._backs.items():
                if back in ready:
                    self._carry(peer, back.recv_multipart(), forth=False)
        self._context.destroy(linger=0)

    def _carry(self, peer: bytes, frames: list[bytes], *, forth: bool) -> None:
        drop, double, hold = (self._random.random() < chance for chance in self._chances)
        if drop and self._drops_left > 0:
            self._drops_left -= 1
            self.dropped += 1
            return
        late = self._held.pop((peer, forth), None)
        if hold and late is None:
            self.reordered += 1
            self._held[peer, forth] = frames
            return
        self.doubled += double
        for message in [frames] * (1 + double) + ([late] if late else []):
            if forth:
                self._backs[peer].send_multipart(message)
            else:
                self._front.send_multipart([peer, *message])
