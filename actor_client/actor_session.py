"""An actor's session with its server: join, step, rejoin when the server has forgotten."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import zmq

from actor_client.answers import unpack_answer
from actor_client.greeting import RETRY_S, Greeting
from actor_client.heartbeat import Heartbeat
from actor_client.line import Line, UnansweredError, wait
from actor_client.rows import Rows, step_frames
from actor_client.scout import OneServer, Servers
from actor_client.settings import ActorSettings
from corral.protocol import (
    ErrorCode,
    Hello,
    MessageType,
    ProtocolError,
    Spec,
    TensorSpec,
    Work,
    open_dealer,
    pack_header,
    spec_from_wire,
    spec_to_wire,
)
from corral.protocol.keys import Caller
from corral.protocol.limits import MAX_HOST

log = logging.getLogger(__name__)

REPORT_EVERY_S = 2.0
"""Seconds between two signs of life at most: with them an actor tells where its time goes."""
_TELL_AFTER_S = 2.0
"""Seconds for which no server lets an actor in, until it says so."""
LINGER_MS = 200
"""Milliseconds for which a goodbye may take to leave."""


class SessionLostError(Exception):
    """The server no longer knows the session: join again, and reset every environment."""


class ActorSession:
    """One session at a time with one server, which may be another one each time. Belongs to one thread.

    `join` and `step` wait. Whoever has several sessions takes them apart: `greet` and `welcomed`, `send` and
    `receive` never do, and `wait` waits for several sessions at once.

    Attributes:
      address: of the server that the session is with, or was last.
      policy_version: the one that computed the latest actions; before any, the one that the session began with.
      first_environment: the run-wide number of the first environment, as the server has it.

    Args:
      servers: the server's address, or who knows which of several to be with.
      observation: what the environments give, one row.
      action: what they take, one row.
      environments: how many there are.
      environment: what they are, by name and arguments, which the server compares with its own; empty says
        nothing.
      first_environment: the run-wide number of the first one; None lets the server choose.
      keys: where the server has keys.
      work: what the session has come to, for the server's figures; asked on another thread.
      stopping: asked while waiting; True ends the wait with `UnansweredError`.
      context: of several sessions that are waited for together; None makes one for this session alone.
    """

    def __init__(
        self,
        servers: str | Servers,
        observation: Spec,
        action: TensorSpec,
        settings: ActorSettings,
        *,
        environments: int,
        environment: str = "",
        first_environment: int | None = None,
        keys: Caller | None = None,
        work: Callable[[], Work | None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
        context: zmq.SyncContext | None = None,
    ) -> None:
        self._owns_context = context is None
        self._context = context or zmq.Context()
        self._servers = OneServer(servers) if isinstance(servers, str) else servers
        self._round = self._servers.round
        self.address = self._servers.addresses[0]
        self._keys = keys
        self._work = work
        self._observation = observation
        self._settings = settings
        self._stopping = stopping
        self._hello = Hello(
            "actor",
            environments=environments,
            environment=environment,
            first_environment=-1 if first_environment is None else first_environment,
            host=socket.gethostname()[:MAX_HOST],
            observation=spec_to_wire(observation),
            action=spec_to_wire({"action": action}),
        )
        self._line = self._new_line()
        self._greeting: Greeting | None = None
        self._began = 0.0
        self._seek_at = math.inf
        self._token = 0
        self._sequence = 0
        self._output: Spec = {}
        self._heartbeat: Heartbeat | None = None
        self.policy_version = 0
        self.first_environment = 0

    @property
    def lines(self) -> tuple[ActorSession, ...]:
        """What is to be waited for: this session."""
        return (self,)

    @property
    def socket(self) -> zmq.SyncSocket:
        """Where the server's answers arrive, for `wait`; it may be another one after every call."""
        return self._line.socket

    @property
    def due(self) -> float:
        """When `welcomed` or `receive` has something to do without an answer: a reading of `time.monotonic`."""
        return min(self._seek_at, self._line.due if self._greeting is None else self._greeting.due)

    def join(self) -> None:
        """Open a session, however long the server is not ready, full or away: `greet`, until `welcomed`."""
        self.greet()
        while not self.welcomed():
            wait((self,))

    def greet(self) -> None:
        """Ask for a session, in place of any that there was."""
        self._stop_heartbeat()
        if self._token:  # given up, though its server may still have it
            self._line.tell(pack_header(MessageType.BYE, self._token, 0))
            self._token = 0
        self._began = time.monotonic()
        self._seek()

    def move(self, address: str) -> None:
        """Leave the server, and ask the one at `address` for a session."""
        self._stop_heartbeat()
        self._began = time.monotonic()
        self._greet(address)

    @property
    def better(self) -> str | None:
        """Where the session should `move` to before anything is sent again; None where it should stay."""
        if self._round == self._servers.round:
            return None
        self._round = self._servers.round
        return self._servers.move(self.address, self._hello.environments)

    def welcomed(self) -> bool:
        """Whether the session that was asked for is open. Never waits.

        Raises:
          ProtocolError: the server will not have this actor: another version, other spaces.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        if self._token:
            return True
        if self._greeting is None:
            self._check_patience("no server lets this actor in")
            if time.monotonic() >= self._seek_at:
                self._seek()
            return False
        welcome = self._greeting.welcome()
        if welcome is None:
            if self._servers.elsewhere(self.address, self._greeting.refused):
                self._check_patience(f"{self.address} does not let this actor in")
                self._seek()
            return False
        self._greeting = None
        self._round = self._servers.round
        self._token, self._sequence = welcome.session, 0
        self.policy_version = welcome.policy_version
        self.first_environment = welcome.first_environment
        self._output = spec_from_wire(welcome.output)
        self._keep_alive(welcome.lease_s)
        return True

    def step(self, rows: Rows) -> np.ndarray:
        """Send rows and wait for their actions, `[n, ...]`: `send`, until `receive` has them."""
        self.send(rows)
        while True:
            wait((self,))
            if (action := self.receive()) is not None:
                return action

    def send(self, rows: Rows) -> None:
        """Send rows to act on; those before must have been answered. Raises `ProtocolError` for other spaces."""
        frames = step_frames(rows, self._observation, self._token, self._sequence + 1)
        self._sequence += 1
        self._line.send(frames, self._token, self._sequence)

    def receive(self) -> np.ndarray | None:
        """The actions for the rows that were sent, `[n, ...]`; None where they are not here yet. Never waits.

        Raises:
          SessionLostError: join again, and reset every environment.
          ProtocolError: the rows were refused.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        try:
            answer = self._line.answer()
        except ProtocolError as error:
            if error.code in (ErrorCode.EXPIRED, ErrorCode.DRAINING):
                raise SessionLostError(error.text) from error
            raise
        if answer is None:
            if self._servers.lost(self.address, self._line.asked):
                raise SessionLostError(f"{self.address} has gone: it has been silent (actor.leave_after_s)")
            return None
        self.policy_version, outputs = unpack_answer(*answer, self._output)
        return outputs["action"]

    def leave(self) -> None:
        """End the session, so that its slots are free at once, and close the socket."""
        self._stop_heartbeat()
        self._hang_up()
        if self._owns_context:
            self._context.term()

    def abandon(self) -> None:
        """End the session from another thread than its own, which hangs: its slots are free at once."""
        if not self._token:
            return
        with zmq.Context() as context:
            line = open_dealer(context, self.address, self._keys)
            with suppress(zmq.Again):
                line.send(pack_header(MessageType.BYE, self._token, 0), zmq.NOBLOCK)
            line.close(LINGER_MS)

    def _seek(self) -> None:
        """Greet the server that the session should be with; where there is none, look again soon."""
        address = self._servers.choose(self._hello.environments)
        if address is not None:
            self._greet(address)
            return
        self._token, self._greeting = 0, None
        now = time.monotonic()
        if self._seek_at < self._began + _TELL_AFTER_S <= now:  # once in each search
            log.info("waiting: none of %s lets this actor in yet", ", ".join(self._servers.addresses))
        self._seek_at = now + RETRY_S

    def _greet(self, address: str) -> None:
        if address != self.address:
            self._hang_up()
            self.address = address
            self._line = self._new_line()
        self._token, self._seek_at = 0, math.inf
        self._greeting = Greeting(self._line, self._hello, address, self._settings.give_up_after_s, self._stopping)

    def _check_patience(self, what: str) -> None:
        """Raises `UnansweredError` where nobody should be waited for any more."""
        waited = time.monotonic() - self._began
        if self._stopping():
            raise UnansweredError("stopped while waiting for a server")
        if 0 < self._settings.give_up_after_s <= waited:
            raise UnansweredError(
                f"{what} for {waited:.1f} s: does one run at {', '.join(self._servers.addresses)}?"
            )

    def _new_line(self) -> Line:
        return Line(
            self._context,
            self.address,
            resend_after_s=self._settings.resend_after_s,
            give_up_after_s=self._settings.give_up_after_s,
            keys=self._keys,
            stopping=self._stopping,
        )

    def _hang_up(self) -> None:
        """Say goodbye, so that the session's slots are free at once, and close the line."""
        if self._token:
            self._line.tell(pack_header(MessageType.BYE, self._token, 0))
        self._line.close(LINGER_MS)

    def _keep_alive(self, lease_s: float) -> None:
        self._stop_heartbeat()
        self._heartbeat = Heartbeat(
            self._context,
            self.address,
            self._token,
            every_s=min(lease_s / 4, REPORT_EVERY_S),
            keys=self._keys,
            work=self._work,
        )
        self._heartbeat.start()

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
