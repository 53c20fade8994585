"""A long cable between two network namespaces: `python -m tests.support.cable SETTINGS`, SETTINGS as JSON.

Either end is a TAP device. What goes in at one comes out at the other `delay_s` later, in order, except for a part
`loss` of all packets, drawn from `seed`. It says "up" when both ends are there, lies until its standard input ends,
and then says what it carried, as JSON. Root, Linux.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002
_LONGEST = 2048
_BURST = 64
"""Packets read from one end before the other one is looked at."""


def enter(namespace: str) -> None:
    """Put the calling thread into a network namespace, by the path of its file."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def open_tap(namespace: str, name: str) -> int:
    """A new TAP device there; it goes when the file is closed."""
    enter(namespace)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP_WITHOUT_HEADER))
    return tap


@dataclass
class Way:
    """One way through the cable."""

    source: int
    sink: int
    delay_s: float
    loss: float
    chance: random.Random
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)
    carried: int = 0
    lost: int = 0

    def take(self) -> None:
        """Take in what waits at the near end."""
        arrives = time.monotonic() + self.delay_s
        for _ in range(_BURST):
            try:
                packet = os.read(self.source, _LONGEST)
            except OSError:  # nothing more, or this end is down
                return
            if self.chance.random() < self.loss:
                self.lost += 1
            else:
                self.under_way.append((arrives, packet))

    def deliver(self) -> None:
        """Let out what has arrived at the far end."""
        now = time.monotonic()
        while self.under_way and self.under_way[0][0] <= now:
            packet = self.under_way.popleft()[1]
            try:
                os.write(self.sink, packet)
                self.carried += 1
            except OSError:  # that end is down, or reads nothing
                self.lost += 1

    @property
    def nap_s(self) -> float:
        """Seconds until something arrives."""
        return max(self.under_way[0][0] - time.monotonic(), 0.0) if self.under_way else 1.0


def main() -> None:
    told = json.loads(sys.argv[1])
    near, far = (open_tap(*end) for end in told["ends"])
    chance = random.Random(told["seed"])
    ways = [Way(*ends, told["delay_s"], told["loss"], chance) for ends in ((near, far), (far, near))]
    print("up", flush=True)
    end = sys.stdin.fileno()
    while end not in select.select([near, far, end], [], [], min(way.nap_s for way in ways))[0]:
        for way in ways:
            way.take()
            way.deliver()
    print(json.dumps({"carried": sum(way.carried for way in ways), "lost": sum(way.lost for way in ways)}))


if __name__ == "__main__":
    main()
