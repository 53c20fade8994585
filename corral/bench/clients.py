"""Many clients played by one thread: connections, requests, and when each was answered."""

from __future__ import annotations

import math
import secrets
import select
import selectors
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import zmq

from actor_client.answers import unpack_answer
from corral.bench.arrivals import Arrivals
from corral.bench.requests import Requests, sequence_of
from corral.protocol import (
    Failure,
    Hello,
    MessageType,
    Spec,
    TensorSpec,
    Welcome,
    open_dealer,
    pack_control,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.keys import Role, caller

GREETING_TIMEOUT_S = 60.0
_NOBLOCK, _MORE, _ERROR = int(zmq.NOBLOCK), int(zmq.SNDMORE), int(MessageType.ERROR)


@dataclass
class Record:
    """What came back.

    Attributes:
      answered: when, in seconds of `time.monotonic`, float64 `[n]`.
      latency_s: since the request was due, float64 `[n]`.
      version: the policy version of each answer, int64 `[n]`; empty where not asked for.
      errors: text -> how often.
      wrong: answers whose outputs were not those of their policy version.
    """

    answered: array[float] = field(default_factory=lambda: array("d"))
    latency_s: array[float] = field(default_factory=lambda: array("d"))
    version: array[int] = field(default_factory=lambda: array("q"))
    errors: Counter[str] = field(default_factory=Counter)
    wrong: int = 0


def connect(address: str, count: int, keys: str) -> tuple[zmq.SyncContext, list[zmq.SyncSocket]]:
    """`count` connections of a context of their own; `keys`: the folder of an actor's, empty without."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, max(count + 16, 1023))
    own = caller(keys, Role.ACTOR, towards=Role.SERVER)
    return context, [open_dealer(context, address, own) for _ in range(count)]


def join(sockets: Sequence[zmq.SyncSocket], observation: Spec, action: TensorSpec, rows: int) -> list[Welcome]:
    """A session of `rows` environments for each connection.

    Raises:
      ProtocolError: the server will not have one.
      TimeoutError: it does not answer.
    """
    hello = Hello(
        "actor",
        environments=rows,
        observation=spec_to_wire(observation),
        action=spec_to_wire({"action": action}),
    )
    welcomes = []
    for socket in sockets:
        nonce = secrets.randbits(64)
        socket.send(pack_control(MessageType.HELLO, nonce, 1, hello))
        if not socket.poll(int(GREETING_TIMEOUT_S * 1e3)):
            raise TimeoutError(f"the server has not answered a greeting for {GREETING_TIMEOUT_S:.0f} s")
        frame = socket.recv()
        if unpack_header(frame).type == MessageType.ERROR:
            raise unpack_control(Failure, frame).error()
        welcomes.append(unpack_control(Welcome, frame))
    return welcomes


class Clients:
    """A closed or an open loop of clients, one connection each.

    What a client costs is taken from the server on the same cores, so the loop is written for speed: it waits for
    all connections at once and calls pyzmq below its Python layer.
    """

    def __init__(self, sockets: Sequence[zmq.SyncSocket], requests: Sequence[Requests], arrivals: Arrivals) -> None:
        self._requests = list(requests)
        self._arrivals = arrivals
        self._due = [math.inf] * len(sockets)
        self._recv = [socket.recv for socket in sockets]
        self._send_frame = [super(zmq.Socket, socket).send for socket in sockets]
        self._selector = selectors.DefaultSelector()
        for index, socket in enumerate(sockets):
            # Readable for as long as libzmq has news of the connection that nobody has taken in.
            self._selector.register(int(socket.getsockopt(zmq.FD)), selectors.EVENT_READ, index)

    def run(self, start: float, stop: float, check: Checker | None = None) -> Record:
        """Ask until `stop`; what was answered since `start` is recorded. Seconds of `time.monotonic`."""
        record = Record()
        clock, due, next_due = time.monotonic, self._arrivals.due, self._arrivals.next_due
        while (now := clock()) < stop:
            while (turn := due(now)) is not None:
                self._send(*turn)
                self._take(turn[0], start, record, check)
            for index in self._ready(min(stop, next_due()) - clock()):
                self._take(index, start, record, check)
        return record

    def unanswered(self, now: float, patience_s: float) -> int:
        """Clients that have waited for longer than `patience_s`."""
        return sum(now - due > patience_s for due in self._due)

    def _ready(self, wait_s: float) -> list[int]:
        """Clients whose connections have news; waits for some for `wait_s` at most."""
        # Its whole milliseconds, rounded up, are too long for an open loop, whose next request may be due sooner.
        if 0 < wait_s < 1e-3:
            select.select([self._selector], [], [], wait_s)
            wait_s = 0
        return [key.data for key, _ in self._selector.select(max(0.0, (int(wait_s * 1e3) - 0.5) * 1e-3))]

    def _take(self, index: int, start: float, record: Record, check: Checker | None) -> None:
        """Take in a client's answer, and send its next request if that is due.

        Goes on until nothing is left: only then does libzmq signal the next news on the descriptor.
        """
        recv = self._recv[index]
        while True:
            try:
                frame = recv(_NOBLOCK)
            except zmq.Again:
                return
            now = time.monotonic()
            if frame[3] == _ERROR:
                record.errors[str(unpack_control(Failure, frame).error())] += 1
                continue  # this client is done: what it would send next is refused as well
            if sequence_of(frame) != self._requests[index].sequence:
                record.errors["an answer to no request"] += 1
                continue
            if now >= start:
                record.answered.append(now)
                record.latency_s.append(now - self._due[index])
                if check is not None:
                    record.version.append(check.version(frame))
                    record.wrong += not check.holds(index, frame)
            due = self._arrivals.answered(index, now)
            if due is not None:
                self._send(index, due)
            else:
                self._due[index] = math.inf

    def _send(self, index: int, due: float) -> None:
        send = self._send_frame[index]
        self._due[index] = due
        *frames, last = self._requests[index].next()
        for frame in frames:
            send(frame, _MORE)
        send(last)


class Checker:
    """Knows what each client's observation becomes under each of the pushed policies, which take turns.

    An answer to a STEP holds nothing but an action, drawn by chance, which either policy may give: of it the form
    is looked at, and that no client sees a version go back.

    Args:
      outputs: leaf -> spec of an answer's row.
      expected: leaf -> `[policies, clients, rows, ...]`; policy `v % policies` is that of version `v`. Leaves that
        answers do not hold are left out.
      clients: how many there are.
    """

    def __init__(self, outputs: Spec, expected: dict[str, np.ndarray], clients: int) -> None:
        self._outputs = outputs
        self._expected = {name: values for name, values in expected.items() if name in outputs}
        self._latest = [0] * clients

    def version(self, frame: bytes) -> int:
        """The policy version of an answer."""
        return int.from_bytes(frame[24:32], "little")

    def holds(self, client: int, frame: bytes) -> bool:
        """Whether an answer is that of one policy, of the one that it names, and that of no earlier one than the
        client's last.

        Raises:
          ProtocolError: it is longer or shorter than an answer is.
        """
        version, outputs = unpack_answer(unpack_header(frame), frame, self._outputs)
        latest, self._latest[client] = self._latest[client], version
        return version >= latest and all(
            np.allclose(outputs[name], values[version % len(values)][client], rtol=1e-3, atol=1e-4)
            for name, values in self._expected.items()
        )
