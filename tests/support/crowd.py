"""Many clients in one thread, each with one INFER under way, that come back later when they are told BUSY."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
import zmq

from actor_client.backoff import Backoff
from corral.protocol import Failure, MessageType, open_dealer, pack_header, unpack_control, unpack_header


@dataclass
class Tally:
    """What a crowd was told.

    Attributes:
      answered_s: of each answer, seconds since the try that was let in was sent.
      refused_s: of each BUSY, likewise.
      wrong: answers that were not those of their rows.
      errors: code -> how often, BUSY left out.
      served: the clients that were answered.
    """

    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    served: set[int] = field(default_factory=set)

    def answered_ms(self, percent: float) -> float:
        """A percentile of the answers' latencies."""
        return float(np.percentile(self.answered_s, percent)) * 1e3


class Crowd:
    """`count` clients of a scripted or slow server, each asking for `rows` rows again and again."""

    def __init__(self, address: str, count: int, rows: int = 1, *, seed: int = 0) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, count + 16)
        self._sockets = [open_dealer(self._context, address) for _ in range(count)]
        self._rows = rows
        self._random = random.Random(seed)
        self._backoffs = [Backoff(self._random) for _ in range(count)]
        self._told_from = 0.0
        self._sequences = [0] * count
        self._sent = [0.0] * count
        # Each client's own number in its rows, which the scripted agent's answer repeats.
        self._frames = [np.tile(np.array([[number, 0, 0, 0]], np.int64), (rows, 1)) for number in range(count)]

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.destroy(linger=0)

    def run(self, seconds: float, warm_s: float = 0.0) -> Tally:
        """Ask for so long, and `warm_s` before, while all connect and come at once, of which nothing is told.

        Requests under way at the end are waited for.
        """
        tally = Tally()
        self._told_from = time.monotonic() + warm_s
        index = {socket: number for number, socket in enumerate(self._sockets)}
        poller = zmq.Poller()
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        end = self._told_from + seconds
        due = [(0.0, number) for number in range(len(self._sockets))]
        under_way = 0
        while True:
            now = time.monotonic()
            while due and due[0][0] <= now < end:
                self._ask(heapq.heappop(due)[1])
                under_way += 1
            if now >= end and not under_way:
                return tally
            if now > end + 60:
                raise TimeoutError(f"{under_way} requests were never answered")
            for socket, _ in poller.poll(max(0, int((due[0][0] - now) * 1e3)) if due and now < end else 50):
                number = index[socket]
                under_way -= 1
                pause_s = self._hear(number, socket.recv(), tally)
                heapq.heappush(due, (time.monotonic() + pause_s, number))

    def _ask(self, number: int) -> None:
        self._sequences[number] += 1
        self._sent[number] = time.monotonic()
        head = pack_header(MessageType.INFER, 0, self._sequences[number], rows=self._rows)
        self._sockets[number].send_multipart([head, self._frames[number]])

    def _hear(self, number: int, frame: bytes, tally: Tally) -> float:
        """Seconds until this client asks again."""
        took_s = time.monotonic() - self._sent[number]
        header = unpack_header(frame)
        assert header.sequence == self._sequences[number], "an answer to another request"
        if header.type == MessageType.OUTPUTS:
            # action [rows], echo [rows, 4], ...: the echo says whose rows these were.
            echo = np.frombuffer(frame, np.int64, 4 * self._rows, offset=32 + 8 * self._rows)
            tally.wrong += int((echo.reshape(-1, 4) != self._frames[number]).any())
            tally.served.add(number)
            if self._sent[number] >= self._told_from:
                tally.answered_s.append(took_s)
            self._backoffs[number] = Backoff(self._random)
            return 0.0
        failure = unpack_control(Failure, frame)
        if failure.code != "BUSY":
            tally.errors[f"{failure.code}: {failure.text}"] += 1
            return 1.0
        if self._sent[number] >= self._told_from:
            tally.refused_s.append(took_s)
        return self._backoffs[number].next_s()
