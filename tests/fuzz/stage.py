"""Real processes to send bad input to, and others that behave meanwhile."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil
import zmq

from corral.protocol import (
    HEADER_BYTES,
    Header,
    MessageType,
    Welcome,
    open_dealer,
    open_router,
    pack_control,
    pack_header,
    unpack_header,
)
from corral.protocol.weights import pack_weights
from tests.fuzz import diary
from tests.fuzz.messages import Frames
from tests.inference_server.hostile_peers_server import ACTIONS, WIDTH
from tests.support.processes import Process, process, until, until_serving

SLOTS = 20_000
LEASE_S = 3.0
PATIENCE_S = 20.0
WINDOW = 100_000
"""Unrolls that the server may hold for its teacher: never so many that a step waits, and answers change order."""
GROWTH_MB = 64.0
"""How much more memory a process may hold after inputs than before: what it allocates once, and no more."""
_MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
"""glibc gives freed memory back at once; by itself it keeps up to 64 MB, which would look like a leak."""


class Peer:
    """A connection that says what it is told to say."""

    def __init__(self, context: zmq.Context, address: str) -> None:
        self._socket = open_dealer(context, address)

    def send(self, frames: Frames) -> None:
        """Send a message."""
        self._socket.send_multipart(frames, copy=True)

    def receive(self) -> Frames:
        """The next answer. Raises `AssertionError` where none comes."""
        assert self._socket.poll(int(1e3 * PATIENCE_S)), "no answer"
        return self._socket.recv_multipart()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Teacher(threading.Thread):
    """The learner of the server on stage: honest by itself, and the fuzzer's mouth on both lines.

    Attributes:
      taken: `(epoch, version)` -> the number that the server answers with under these weights.
      held: the `(epoch, version)` that the server has taken last.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(name="teacher", daemon=True)
        self._context = zmq.Context()
        self._lines = {
            name: open_router(self._context, f"ipc://{folder}/{path}")
            for name, path in (("unrolls", "u"), ("weights", "w"))
        }
        self._routing: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._answers: list[Frames] = []
        self.identity = 0
        self.cursor = 0
        self.taken: dict[tuple[int, int], float] = {}
        self.held = (0, 0)

    def __enter__(self) -> Teacher:
        self.start()
        until(lambda: len(self._routing) == 2, what="a greeting on both lines")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self.join(10)
        self._context.destroy(linger=0)

    def run(self) -> None:
        while not self._closing.wait(0.002):
            with self._lock:
                self._serve()

    def say(self, line: str, frames: Frames) -> None:
        """Send the server a message on one of the lines."""
        with self._lock:
            self._lines[line].send_multipart([self._routing[line], *frames])

    def push(self, frames: Frames) -> tuple[Header, bytes]:
        """Send a message on the weights line, and wait for what is answered to it."""
        with self._lock:
            self._answers.clear()
            self._lines["weights"].send_multipart([self._routing["weights"], *frames])
            while not self._answers:
                assert self._lines["weights"].poll(int(1e3 * PATIENCE_S)), "no answer to weights"
                self._serve()
            frame = self._answers.pop(0)[0]
        return unpack_header(frame), frame

    def give(self, weights: dict[str, np.ndarray], epoch: int, version: int, number: float) -> None:
        """Push good weights, under which the value of any observation is `number`."""
        header, _ = self.push([bytes(frame) for frame in pack_weights(epoch, version, weights)])
        assert header.type == MessageType.TAKEN
        self.taken[epoch, version], self.held = number, (epoch, version)

    def reconcile(self) -> None:
        """Take back whatever was said on the unrolls line: from here on no step waits for this learner."""
        self.say("unrolls", [self._welcome()])

    def _welcome(self) -> bytes:
        body = Welcome(1, 0, 0, {}, {}, 0, 0.0, 0, cursor=self.cursor, window=WINDOW)
        return pack_control(MessageType.WELCOME, self.identity, self.cursor + 1, body)

    def _serve(self) -> None:
        for name, socket in self._lines.items():
            while socket.poll(0):
                routing, head, *rest = socket.recv_multipart()
                header = unpack_header(head)
                self._routing[name] = routing
                if name == "unrolls":
                    self._on_unrolls(header, [head, *rest])
                elif header.type != MessageType.HELLO:
                    self._answers.append([head, *rest])

    def _on_unrolls(self, header: Header, frames: Frames) -> None:
        self.identity = header.session
        if header.type == MessageType.HELLO:
            self.cursor = header.sequence - 1
            answer = self._welcome()
        else:
            assert header.type == MessageType.UNROLLS, (
                f"type {header.type} of {len(frames[0]) - HEADER_BYTES} bytes"
            )
            self.cursor = max(self.cursor, header.sequence)
            answer = pack_header(MessageType.ACCEPTED, header.session, self.cursor)
        self._lines["unrolls"].send_multipart([self._routing["unrolls"], answer])


def policy(names: dict[str, np.ndarray], number: float) -> dict[str, np.ndarray]:
    """Weights whose action is the place of the largest of the first numbers, and whose value is `number`."""
    weights = {name: np.zeros_like(array) for name, array in names.items()}
    for array in weights.values():
        if array.shape == (WIDTH, ACTIONS):
            array[:] = np.eye(WIDTH, ACTIONS, dtype=np.float32) * 100
        elif array.shape == (1,):
            array[:] = number
    return weights


class Stage:
    """A server and a learner, each with somebody who behaves, and the memory that they began with.

    Attributes:
      server, unrolls, weights: addresses of the server's actors' line and the learner's two.
      teacher: the server's learner.
      names: the tensors that the server takes.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.folder = folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-fuzz-")))
        self.server, self.unrolls, self.weights = (f"ipc://{folder}/{name}" for name in ("s", "unrolls", "weights"))
        self.context = zmq.Context()
        stack.callback(self.context.destroy, linger=0)

        def start(*arguments: str) -> Process:
            return stack.enter_context(process("-m", *arguments, **_MALLOC))

        script = "tests.inference_server.hostile_peers_server"
        self._processes = {
            "server": start(script, "train", str(folder), str(SLOTS), str(LEASE_S)),
            "learner": start("tests.fuzz.learner", str(folder)),
        }
        self.teacher = stack.enter_context(Teacher(folder))
        until((folder / "weights.npz").exists, what="the weights' names")
        with np.load(folder / "weights.npz") as names:
            self.names = dict(names)
        self.teacher.give(policy(self.names, 1.0), 1, 1, 1.0)
        until_serving(self.server)
        self._processes["actor"] = start("tests.fuzz.bystander", "actor", str(folder))
        self._processes["honest server"] = start("tests.fuzz.bystander", "server", str(folder))
        self._before = until(self._moving, what="everybody at work")
        self._memory = self.memory_mb()

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the processes under fire, in MB."""
        return {
            name: psutil.Process(self._processes[name].popen.pid).memory_info().rss / 1e6
            for name in ("server", "learner")
        }

    def settle(self) -> None:
        """From here on memory counts as it is now."""
        self._memory = self.memory_mb()

    def check(self) -> dict[str, float]:
        """Everybody lives, those who behave have gone on, and memory is where it was; their figures.

        Raises:
          AssertionError: somebody does not, with its words.
        """
        for name, running in self._processes.items():
            assert running.popen.poll() is None, f"the {name} has ended:\n{running.output}"
        before = self._before

        def moved() -> dict[str, float] | None:
            now = self._moving()
            return now if now and all(now[name] > before[name] for name in ("steps", "accepted", "seen")) else None

        self._before = until(moved, PATIENCE_S, "a step of those who behave")
        for name, megabytes in self.memory_mb().items():
            grown = megabytes - self._memory[name]
            assert grown < GROWTH_MB, f"the {name} has grown by {grown:.0f} MB to {megabytes:.0f} MB"
        return self._before | {f"{name}_mb": megabytes for name, megabytes in self.memory_mb().items()}

    def _moving(self) -> dict[str, float]:
        for name, running in self._processes.items():
            assert running.popen.poll() is None, f"the {name} has ended:\n{running.output}"
        actor, server, learner = (diary.read(self.folder / name) for name in ("actor", "server", "learner"))
        if not (actor and server and learner.get("seen")):
            return {}
        return {
            "steps": actor["steps"],
            "actor_worst_ms": actor["worst_ms"],
            "accepted": server["accepted"],
            "server_worst_ms": server["worst_ms"],
            "seen": learner["seen"],
            "others": learner["others"],
            "servers": learner["servers"],
        }


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A stage that is cleared when the block ends."""
    with contextlib.ExitStack() as stack:
        yield Stage(stack)
