"""What every peer's script has in common: its command line, the closed loop of its clients, and its line of JSON.

Clients are spread over processes of their own, as actors are. Each sends one request, waits for the answer, and
sends the next one; what was answered in the first second is not counted. A client's request is packed once, as
`corral bench` does it, wherever the peer's own client library lets it be.

A peer chooses the cheapest way of playing clients that its client library has, for what the clients take the server
lacks: `by_threads` (asking blocks), `by_tasks` (asking is awaited) or `by_futures` (asking gives a future, and one
thread keeps one in flight for each client).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing as mp
import os
import signal
import socket
import sys
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import numpy as np

WARM_UP_S = 1.0
_MAX_BATCH = 64

CONTEXT = mp.get_context("spawn")
"""Fresh interpreters: a fork of a process that has threads, as every peer's library starts, may hang."""

_STARTING_S = 120.0
_LEAVING_S = 10.0
_GIVE_UP_AFTER = 20
"""Clients of a process that have failed this often together ask no more: a broken server is no million errors."""

_SHAPES = {"mlp": ((4,), np.float32, 2), "nature_cnn": ((84, 84, 4), np.uint8, 6)}

Answer = tuple[Any, Any]
"""Logits and values, as whatever numpy can take: a row of each for each row that was asked for."""
Ask = Callable[[], Answer]
AsyncAsk = Callable[[], Awaitable[Answer]]


class Pending(Protocol):
    """An answer that is on its way."""

    def done(self) -> bool: ...

    def result(self) -> Answer: ...


Submit = Callable[[], Pending]


@dataclass(frozen=True)
class Load:
    """One workload, the same for every peer."""

    model: str = "mlp"
    clients: int = 64
    processes: int = 2
    rows: int = 1
    seconds: float = 5.0
    address: str = ""

    @property
    def row(self) -> tuple[tuple[int, ...], Any]:
        """Shape and dtype of one observation."""
        shape, dtype, _ = _SHAPES[self.model]
        return shape, dtype

    @property
    def actions(self) -> int:
        """Logits of one observation."""
        return _SHAPES[self.model][2]

    @property
    def batch(self) -> int:
        """Requests in one batch, at most. No more than there are clients, or a full batch would be waited for."""
        return min(_MAX_BATCH, self.clients)

    def observation(self, client: int) -> np.ndarray:
        """What a client asks about, again and again."""
        shape, dtype = self.row
        random = np.random.default_rng(client)
        if dtype is np.uint8:
            return random.integers(0, 256, (self.rows, *shape), dtype)
        return random.uniform(-1, 1, (self.rows, *shape)).astype(dtype)

    def share(self, process: int) -> range:
        """The numbers of the clients that process number `process` plays."""
        return range(process, self.clients, self.processes)


@dataclass
class Tally:
    """What came back within the counted seconds."""

    start: float
    stop: float
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)

    def answered(self, asked: float) -> bool:
        """Count an answer that has come just now; whether its client is to ask again."""
        now = time.monotonic()
        if self.start <= now < self.stop:
            self.latencies_s.append(now - asked)
        return now < self.stop

    def failed(self, error: Exception) -> bool:
        """Count an error; whether its client is to ask again."""
        self.errors[f"{type(error).__name__}: {error}"] += 1
        return self.errors.total() < _GIVE_UP_AFTER and time.monotonic() < self.stop


Numbered = list[tuple[int, np.ndarray]]
"""The clients of one process: their numbers, and what each asks about."""
Begin = Callable[[list[Answer]], Tally]
"""Says that every client has had an answer, and waits until all processes may begin."""
Play = Callable[[Numbered, Any, Begin], Tally]


def parse(description: str | None) -> Load:
    """The command line that all peers share. From here on, standard output is for the line of JSON alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(_SHAPES), default=Load.model)
    parser.add_argument("--clients", type=int, default=Load.clients)
    parser.add_argument("--processes", type=int, default=Load.processes, help="of clients")
    parser.add_argument("--rows", type=int, default=Load.rows, help="observations in one request")
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="counted, after one of warming up")
    parser.add_argument("--address", default="", help="HOST:PORT of the server, if any (default: a free one)")
    given = parser.parse_args()
    if min(given.clients, given.processes, given.rows) < 1 or given.seconds <= 0:
        parser.error("clients, processes, rows and seconds must be positive")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # so that servers are ended too
    _claim_stdout()
    return Load(**vars(given) | {"processes": min(given.processes, given.clients)})


def say(text: str) -> None:
    """Progress, for whoever watches."""
    print(text, file=sys.stderr, flush=True)


def measure(load: Load, play: Play, connect: Callable[[int, np.ndarray], Any]) -> Tally:
    """Play the clients, and bring together what all of them saw.

    Args:
      play: `by_threads`, `by_tasks` or `by_futures`.
      connect: gives client number `index`, who asks about `observation`, its way of asking; called in the client's
        process, so it must be picklable.

    Raises:
      RuntimeError: a process of clients could not begin or did not come to an end.
    """
    pipes, processes = [], []
    try:
        for index in range(load.processes):
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=_play, args=(load, index, play, connect, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _receive(pipe, _STARTING_S)
        say(f"{load.clients} clients in {load.processes} processes, {load.seconds:g} s")
        start = time.monotonic() + 0.1
        for pipe in pipes:
            pipe.send(start)
        whole = _tally(load, start)
        for pipe in pipes:
            part = _receive(pipe, WARM_UP_S + load.seconds + 60)
            whole.latencies_s.extend(part.latencies_s)
            whole.errors += part.errors
        return whole
    finally:
        for process in processes:
            process.join(2)
            process.kill()


def report(peer: str, version: str, load: Load, tally: Tally, note: str) -> None:
    """The line of JSON that says it all."""
    for text, times in tally.errors.most_common(3):
        say(f"{times} errors: {text}")
    if not tally.latencies_s:
        sys.exit("no answer at all" + "".join(f"; {text}" for text, _ in tally.errors.most_common(1)))
    answers_per_s = len(tally.latencies_s) / load.seconds
    p50, p99 = np.percentile(np.frombuffer(tally.latencies_s), (50, 99)) * 1e3
    line = {
        "peer": peer,
        "version": version,
        "answers_per_s": round(answers_per_s, 1),
        "rows_per_s": round(answers_per_s * load.rows, 1),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "errors": tally.errors.total(),
        "note": note,
    }
    _STDOUT.write(json.dumps(line) + "\n")
    _STDOUT.flush()


def within(load: Load, processes: int) -> Load:
    """The same load in at most so many processes, for peers that have the model where the clients are."""
    return replace(load, processes=min(processes, load.clients))


def host_and_port(load: Load) -> tuple[str, int]:
    """Where the server is to listen."""
    if load.address:
        host, _, port = load.address.rpartition(":")
        return host, int(port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", probe.getsockname()[1]


@contextlib.contextmanager
def background(target: Callable[..., None], *arguments: object) -> Iterator[SpawnProcess]:
    """A server in a process of its own, ended with everything that it has started."""
    process = CONTEXT.Process(target=_lead_group, args=(target, arguments))
    process.start()
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, number)
            process.join(_LEAVING_S)


def until_listening(host: str, port: int, process: SpawnProcess) -> None:
    """Wait until somebody accepts connections there.

    Raises:
      RuntimeError: the process that should is gone, or takes too long.
    """
    deadline = time.monotonic() + _STARTING_S
    while time.monotonic() < deadline and process.is_alive():
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server does not listen on {host}:{port}")


def _claim_stdout() -> None:
    """Keep libraries, and processes that they start, from writing among the JSON: they get standard error."""
    global _STDOUT
    _STDOUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


_STDOUT = sys.stdout


def _lead_group(target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.setsid()
    target(*arguments)


def _tally(load: Load, start: float) -> Tally:
    counted = start + WARM_UP_S
    return Tally(counted, counted + load.seconds)


def _receive(pipe: Connection, patience_s: float) -> Any:
    """What a process of clients has to say next."""
    if not pipe.poll(patience_s):
        raise RuntimeError(f"clients have said nothing for {patience_s:.0f} s")
    try:
        said = pipe.recv()
    except EOFError:
        raise RuntimeError("a process of clients has died") from None
    if isinstance(said, str):
        raise RuntimeError(said)
    return said


def by_threads(numbered: Numbered, connect: Callable[[int, np.ndarray], Ask], begin: Begin) -> Tally:
    """A thread for each client, which blocks until it has its answer."""
    asks = [connect(*client) for client in numbered]
    tally = begin([ask() for ask in asks])
    threads = [threading.Thread(target=_ask_on, args=(ask, tally), daemon=True) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def by_tasks(numbered: Numbered, connect: Callable[[int, np.ndarray], Awaitable[AsyncAsk]], begin: Begin) -> Tally:
    """A task for each client, all in one event loop."""

    async def play() -> Tally:
        asks = [await connect(*client) for client in numbered]
        tally = begin([await ask() for ask in asks])
        await asyncio.gather(*(_await_on(ask, tally) for ask in asks))
        return tally

    try:
        from uvloop import run  # most peers bring it along
    except ImportError:
        from asyncio import run
    return run(play())


def by_futures(numbered: Numbered, connect: Callable[[int, np.ndarray], Submit], begin: Begin) -> Tally:
    """One thread for all clients: it waits for the oldest request, and then takes up every answer that is there."""
    submits = [connect(*client) for client in numbered]
    tally = begin([submit().result() for submit in submits])
    flying = deque((time.monotonic(), submit(), submit) for submit in submits)
    while flying:
        with contextlib.suppress(Exception):  # counted below
            flying[0][1].result()
        for _ in range(len(flying)):
            asked, pending, submit = flying.popleft()
            if not pending.done():
                flying.append((asked, pending, submit))
            elif _count(tally, asked, pending.result):
                flying.append((time.monotonic(), submit(), submit))
    return tally


def _ask_on(ask: Ask, tally: Tally) -> None:
    while _count(tally, time.monotonic(), ask):
        pass


async def _await_on(ask: AsyncAsk, tally: Tally) -> None:
    go_on = True
    while go_on:
        asked = time.monotonic()
        try:
            await ask()
        except Exception as error:
            go_on = tally.failed(error)
        else:
            go_on = tally.answered(asked)


def _count(tally: Tally, asked: float, result: Ask) -> bool:
    """Wait for an answer and count what comes; whether the client is to go on."""
    try:
        result()
    except Exception as error:
        return tally.failed(error)
    return tally.answered(asked)


def _play(load: Load, process: int, play: Play, connect: Callable[..., Any], pipe: Connection) -> None:
    """A process of clients: ready when each has had an answer, and at it from the moment that it is told."""

    def begin(answers: list[Answer]) -> Tally:
        for answer in answers:
            _check(load, answer)
        pipe.send(True)
        start = pipe.recv()
        time.sleep(max(0.0, start - time.monotonic()))
        return _tally(load, start)

    try:
        pipe.send(play([(index, load.observation(index)) for index in load.share(process)], connect, begin))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
    sys.stderr.flush()
    os._exit(0)  # some libraries' threads would keep a process that has said everything


def _check(load: Load, answer: Answer) -> None:
    """Whether it is an answer at all: a peer that answers nothing, fast, is no peer."""
    logits, values = (np.asarray(part) for part in answer)
    if logits.size != load.rows * load.actions or values.size != load.rows:
        raise ValueError(f"an answer of {logits.shape} logits and {values.shape} values to {load.rows} rows")
    if not (np.isfinite(logits).all() and np.isfinite(values).all()):
        raise ValueError("an answer that is no number")
