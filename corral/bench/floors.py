"""The limits that a server is compared with: sockets alone, the model alone, memory alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import zmq

from corral.bench.child import Message, Wire
from corral.bench.model import choose_threads_of, load_agent
from corral.bench.requests import made_up
from corral.protocol import open_router
from corral.protocol.keys import Gate, Role


def host_echo(settings: Message, wire: Wire) -> None:
    """Answer every request with its own first frame; read the others as a server would, into memory that it has.

    This is what the sockets and the clients cost by themselves: no server on the same sockets can be faster.
    """
    context = zmq.Context()
    keys = settings["keys"]
    gate = Gate(keys, Role.SERVER) if keys else None
    socket = open_router(context, settings["address"], gate=gate)
    wire.tell(ready=True, address=socket.getsockopt_string(zmq.LAST_ENDPOINT))
    gone = threading.Event()
    threading.Thread(target=_echo, args=(socket, settings["frame_bytes"], gone), daemon=True).start()
    for _ in wire.messages():
        pass
    gone.set()


def _echo(socket: zmq.SyncSocket, frame_bytes: int, gone: threading.Event) -> None:
    memory = memoryview(bytearray(max(frame_bytes, 1)))
    while not gone.is_set():
        if not socket.poll(100):
            continue
        while True:
            try:
                routing = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            head = socket.recv()
            while socket.getsockopt(zmq.RCVMORE):
                socket.recv_into(memory)
            socket.send(routing, zmq.SNDMORE)
            socket.send(head)


def host_model(settings: Message, wire: Wire) -> None:
    """Call the model alone, and copy its input alone, each time that it is told to."""
    from corral.launch.quiet import import_keras

    choose_threads_of(settings["model"])
    import_keras()
    from inference_server.engine import Engine

    agent = load_agent(settings["model"], settings["request"])
    spec, batch, rows = agent.spec, settings["batch"], settings["rows"]
    engine = Engine(agent, sorted({rows, batch}), learns=False)
    engine.warm()
    state = {name: np.asarray(leaf) for name, leaf in agent.initial_state(batch).items()}
    inputs = (
        made_up(spec.observation, batch, seed=0),
        state,
        np.ones(batch, bool),
        np.zeros((batch, spec.noise), np.float32),
        np.zeros((batch, spec.explore), np.float32),
    )
    copy = {name: np.empty_like(leaf) for name, leaf in inputs[0].items()}

    def memory_copy() -> None:
        for name, leaf in inputs[0].items():
            np.copyto(copy[name], leaf)

    wire.tell(ready=True)
    for message in wire.messages():
        seconds = message["seconds"] / 3
        wire.tell(
            full_s=_median_s(lambda: engine.act(batch, *inputs), seconds),
            call_s=_median_s(lambda: engine.act(rows, *inputs), seconds),
            copy_s=_median_s(memory_copy, seconds),
        )


def _median_s(call: Callable[[], object], seconds: float) -> float:
    """Seconds that `call` takes, the median of as many calls as fit."""
    taken = []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        call()
        taken.append(time.perf_counter() - before)
    return float(np.median(taken))
