"""Makes a client faulty: `python -m tests.conformance.faulty FAULT COMMAND...`, in place of COMMAND.

A suite that sees no fault sees nothing. So somebody stands between a good client and the server, and damages what
one of them says, as a bad client would have said or understood it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import msgpack
import zmq

from tests.conformance.wire import ACTIONS, BYE, HEARTBEAT, HELLO, INFER, STEP, WELCOME

Frames = list[bytes]
Fault = Callable[["Between", int, Frames], list[Frames]]
"""What becomes of one message, by its type: none, itself, or several."""


class Between:
    """Passes messages on, through a fault.

    Attributes:
      last: type -> the latest message of this type that the client sent, as it was.
    """

    def __init__(self, server: str, up: Fault, down: Fault) -> None:
        self._context = zmq.Context()
        self._clients = self._context.socket(zmq.ROUTER)
        self._clients.bind("tcp://127.0.0.1:*")
        self._servers: dict[bytes, zmq.Socket[bytes]] = {}
        self._server, self._up, self._down = server, up, down
        self.address = self._clients.getsockopt_string(zmq.LAST_ENDPOINT)
        self.last: dict[int, Frames] = {}

    def run(self, command: list[str]) -> int:
        """Until `command` has ended, and its last words have been passed on; its exit code."""
        client = subprocess.Popen(command)
        while True:
            ended = client.poll()
            if not self._pass_on() and ended is not None:
                break
        for socket in [self._clients, *self._servers.values()]:
            socket.close(1000)
        self._context.term()
        return ended

    def _pass_on(self) -> bool:
        poller = zmq.Poller()
        for socket in [self._clients, *self._servers.values()]:
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(50))
        if self._clients in ready:
            route, *frames = self._clients.recv_multipart()
            if route not in self._servers:
                self._servers[route] = self._context.socket(zmq.DEALER)
                self._servers[route].connect(self._server)
            for each in self._up(self, frames[0][3], frames):
                self._servers[route].send_multipart(each)
            self.last[frames[0][3]] = frames
        for route, server in self._servers.items():
            if server in ready:
                frames = server.recv_multipart()
                for each in self._down(self, frames[0][3], frames):
                    self._clients.send_multipart([route, *each])
        return bool(ready)


def same(between: Between, type_: int, frames: Frames) -> list[Frames]:
    """No fault."""
    return [frames]


def forgets_rewards(between: Between, type_: int, frames: Frames) -> list[Frames]:
    if type_ != STEP:
        return [frames]
    table = frames[0][24:]
    rows = [table[start : start + 8] for start in range(0, len(table), 8)]
    return [[frames[0][:24] + b"".join(bytes(4) + row[4:] for row in rows), *frames[1:]]]


def swaps_leaves(between: Between, type_: int, frames: Frames) -> list[Frames]:
    return [[frames[0], frames[2], frames[1], *frames[3:]] if type_ == STEP else frames]


def leaves_a_field_out(between: Between, type_: int, frames: Frames) -> list[Frames]:
    if type_ != HELLO:
        return [frames]
    body = msgpack.unpackb(frames[0][24:])
    del body["epoch"]
    return [[frames[0][:24] + msgpack.packb(body)]]


def goes_on_after_expired(between: Between, type_: int, frames: Frames) -> list[Frames]:
    """The first rows of every session but the first are no FIRST."""
    if type_ != STEP or frames[0][16] != 1 or STEP not in between.last:
        return [frames]
    return [[frames[0][:30] + bytes(2) + frames[0][32:], *frames[1:]]]


def resends_as_new(between: Between, type_: int, frames: Frames) -> list[Frames]:
    if type_ != STEP or frames != between.last.get(STEP):
        return [frames]
    return [[frames[0][:16] + bytes([frames[0][16] + 1]) + frames[0][17:], *frames[1:]]]


def greets_anew(between: Between, type_: int, frames: Frames) -> list[Frames]:
    """Every HELLO has another nonce."""
    if type_ != HELLO or HELLO not in between.last:
        return [frames]
    return [[frames[0][:8] + bytes([frames[0][8] ^ 1]) + frames[0][9:]]]


def takes_any_answer(between: Between, type_: int, frames: Frames) -> list[Frames]:
    """Whatever comes is what was waited for."""
    if type_ != ACTIONS:
        return [frames]
    return [[frames[0][:8] + between.last[STEP][0][8:24] + frames[0][24:]]]


def has_no_heart(between: Between, type_: int, frames: Frames) -> list[Frames]:
    return [] if type_ == HEARTBEAT else [frames]


def says_no_goodbye(between: Between, type_: int, frames: Frames) -> list[Frames]:
    return [] if type_ == BYE else [frames]


def asks_twice(between: Between, type_: int, frames: Frames) -> list[Frames]:
    return [frames, frames] if type_ == INFER else [frames]


def keeps_its_own_order(between: Between, type_: int, frames: Frames) -> list[Frames]:
    """Does not look at WELCOME for the order of the leaves."""
    if type_ != WELCOME:
        return [frames]
    body = msgpack.unpackb(frames[0][24:])
    body["observation"] = dict(sorted(body["observation"].items()))
    return [[frames[0][:24] + msgpack.packb(body)]]


UP = (
    forgets_rewards,
    swaps_leaves,
    leaves_a_field_out,
    goes_on_after_expired,
    resends_as_new,
    greets_anew,
    has_no_heart,
    says_no_goodbye,
    asks_twice,
)
DOWN = (takes_any_answer, keeps_its_own_order)


def main(name: str, command: list[str]) -> int:
    """Run `command`, whose last four arguments are those of the suite, with the fault `name`; its exit code."""
    *client, address, task, count, slow_ms = command
    faults = {fault.__name__: fault for fault in (*UP, *DOWN)}
    if name == "never_fails":
        subprocess.run(command, check=False)
        return 0
    fault = faults[name]
    between = Between(address, *((fault, same) if fault in UP else (same, fault)))
    return between.run([*client, between.address, task, count, slow_ms])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
