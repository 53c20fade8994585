"""A client under test in a process of its own, and the socket that it talks to."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import zmq

from tests.conformance.wire import BYE, HEARTBEAT, Header, WireError, read_header

_TOLD = 1500
"""Characters of a client's last words that a failure repeats."""


class Failed(Exception):  # noqa: N818  (a verdict, not a defect)
    """The client did something that the protocol does not allow, or did not do what it asks for."""


@dataclass(frozen=True)
class Message:
    """One message of the client's.

    Attributes:
      route: where it came from, and its answer goes.
      since: it came after this moment of the monotonic clock,
      at: and before this one. A machine with too much to do may put much time between the two.
    """

    route: bytes
    header: Header
    frames: list[bytes]
    since: float
    at: float


class Stage(AbstractContextManager["Stage"]):
    """Starts `command` with the server's address and its task, and hears what it says.

    Args:
      command: the client under test; README.md says which arguments are added to it.
      patience_s: seconds for which anything is waited for.

    Attributes:
      heartbeats: those that came so far; they may come at any time.
    """

    def __init__(self, command: Sequence[str], patience_s: float = 30.0) -> None:
        self._command = list(command)
        self.patience_s = patience_s
        self.heartbeats: list[Message] = []
        self._context = zmq.Context()
        self._socket = self._open(0)
        self._port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._empty_at = time.monotonic()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._client: subprocess.Popen[bytes] | None = None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None and self._client.poll() is None:
            # And whatever it started: that would ask at this port for ever, and one day reach somebody else there.
            os.killpg(self._client.pid, signal.SIGKILL)
            self._client.wait(self.patience_s)
        self._socket.close(0)
        self._context.term()
        self._words.close()

    def start(self, task: str, count: int, slow_ms: int = 0) -> None:
        """Start the client: `task` is "play" or "infer", `count` how many answers it shall take."""
        arguments = [f"tcp://127.0.0.1:{self._port}", task, str(count), str(slow_ms)]
        try:
            self._client = subprocess.Popen(
                self._command + arguments,
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"the client cannot be started: {error}") from error

    def restart(self) -> None:
        """What a server does that ends and comes again: connections break, and what was under way is lost."""
        self._socket.close(0)
        self._socket = self._open(self._port)

    def receive(self) -> Message:
        """The next message that is no heartbeat."""
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            message = self._next()
            if message is not None:
                return message
            if self._client is not None and self._client.poll() is not None and not self._socket.poll(100):
                raise Failed(f"the client ended with {self._client.returncode} instead of going on")
        raise Failed(f"nothing came for {self.patience_s:g} s")

    def send(self, message: Message, frame: bytes) -> None:
        """Send a frame to where `message` came from."""
        self._socket.send_multipart([message.route, frame])

    def exit_code(self, bye: int | None = None) -> int:
        """Wait until the client ends; it may say nothing more but the BYE of the session `bye`."""
        assert self._client is not None
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            code = self._client.poll()
            message = self._next()
            if message is not None and (message.header.type, message.header.session) != (BYE, bye):
                raise Failed(f"a {message.header.name} came where nothing more was to be said")
            if code is not None and message is None:
                return code
        raise Failed(f"the client had not ended {self.patience_s:g} s after it was done")

    @property
    def words(self) -> str:
        """The last of what the client wrote to its outputs."""
        self._words.seek(0)
        return self._words.read().decode(errors="replace")[-_TOLD:]

    def _next(self) -> Message | None:
        if not self._socket.poll(0):
            self._empty_at = time.monotonic()
            if not self._socket.poll(20):
                return None
        route, *frames = self._socket.recv_multipart()
        if not frames[0]:
            raise WireError("an empty frame before the header: a DEALER sends none (Who speaks to whom)")
        message = Message(route, read_header(frames[0]), frames, self._empty_at, time.monotonic())
        if message.header.type == HEARTBEAT:
            self.heartbeats.append(message)
            return None
        return message

    def _open(self, port: int) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                router.bind(f"tcp://127.0.0.1:{port or '*'}")
                return router
            except zmq.ZMQError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)  # the port is still being given back
