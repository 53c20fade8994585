"""The roles that talk to a server: clients under the clock, and a crowd that only lives."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from corral.bench.arrivals import Arrivals, BusyLoop, ClosedLoop, OpenLoop
from corral.bench.child import Message, Wire
from corral.bench.clients import Checker, Clients, connect, join
from corral.bench.load import Load
from corral.bench.requests import Requests, made_up
from corral.protocol import MessageType, TensorSpec, pack_header, spec_from_wire

PATIENCE_S = 2.0
"""Seconds after which a request counts as unanswered when the clock stops."""


def play_clients(settings: Message, wire: Wire) -> None:
    """Connect, run under the clock and leave, as often as told."""
    load, number = Load(**settings["load"]), int(settings["number"])
    wire.tell(ready=True)
    for message in wire.messages():
        player = _Player(load, number, message)
        wire.tell(joined=True)
        run = wire.read()
        if run is None:
            return
        wire.tell(**player.run(run["start"], run["stop"], settings["folder"]))
        player.leave()


class _Player:
    """One process' share of the clients, connected."""

    def __init__(self, load: Load, number: int, message: Message) -> None:
        self._load = load
        self._number = number
        count = load.share(number)
        first = sum(load.share(before) for before in range(number))
        observation = spec_from_wire(message["observation"])
        self._context, self._sockets = connect(message["address"], count, message["keys"])
        self._tokens = [0] * count
        answers = message.get("outputs", {})
        if message["join"]:
            action = _action(message)
            welcomes = join(self._sockets, observation, action, load.rows)
            self._tokens = [welcome.session for welcome in welcomes]
            answers = welcomes[0].output
        self._requests = [
            Requests(token, made_up(observation, load.rows, seed=first + index))
            for index, token in enumerate(self._tokens)
        ]
        self._check = None
        if message.get("expected"):
            arrays = np.load(message["expected"])
            mine = {name: arrays[name][:, first : first + count] for name in arrays.files}
            self._check = Checker(spec_from_wire(answers), mine, count)

    def run(self, start: float, stop: float, folder: str) -> dict[str, Any]:
        """Play; the figures, and the file with every single answer."""
        arrivals = self._arrivals(time.monotonic())
        clients = Clients(self._sockets, self._requests, arrivals)
        record = clients.run(start, stop, self._check)
        file = f"{folder}/answers-{self._number}.npz"
        with open(file, "wb") as out:
            np.savez(
                out,
                answered=np.frombuffer(record.answered),
                latency_s=np.frombuffer(record.latency_s),
                version=np.frombuffer(record.version, np.int64),
            )
        unanswered = clients.unanswered(stop, PATIENCE_S) if not self._load.think_us and not self._load.rate else 0
        if unanswered:
            record.errors[f"no answer for {PATIENCE_S:g} s"] += unanswered
        overdue = arrivals.overdue if isinstance(arrivals, OpenLoop) else 0
        return {"file": file, "errors": dict(record.errors), "wrong": record.wrong, "overdue": overdue}

    def leave(self) -> None:
        """End the sessions and close the connections."""
        for socket, token in zip(self._sockets, self._tokens, strict=True):
            if token:
                socket.send(pack_header(MessageType.BYE, token, 0))
            socket.close(linger=500)
        self._context.term()

    def _arrivals(self, now: float) -> Arrivals:
        load, count = self._load, len(self._sockets)
        if load.rate:
            return OpenLoop(count, load.rate * count / load.clients, self._number, now)
        return (BusyLoop if load.busy else ClosedLoop)(count, load.think_us * 1e-6, self._number)


def play_crowd(settings: Message, wire: Wire) -> None:
    """Actors that are connected, send signs of life as actors do, and ask for nothing."""
    observation, action = spec_from_wire(settings["observation"]), _action(settings)
    context, sockets = connect(settings["address"], settings["count"], settings["keys"])
    welcomes = join(sockets, observation, action, 1)
    signs = [pack_header(MessageType.HEARTBEAT, welcome.session, 0) for welcome in welcomes]
    wire.tell(ready=True)
    every_s = welcomes[0].lease_s / 4 / len(sockets)
    gone = threading.Event()

    def listen() -> None:
        for _ in wire.messages():
            pass
        gone.set()

    threading.Thread(target=listen, daemon=True).start()
    turn, due = 0, time.monotonic()
    while not gone.wait(max(0.0, due - time.monotonic(), 0.01)):
        while due <= time.monotonic():
            sockets[turn].send(signs[turn])
            turn, due = (turn + 1) % len(sockets), due + every_s
    context.destroy(linger=0)


def _action(message: Message) -> TensorSpec:
    return spec_from_wire(message["action"])["action"]
