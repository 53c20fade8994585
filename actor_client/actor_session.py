"""An actor's session with its server: join, step, rejoin when the server has forgotten."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import zmq

from actor_client.answers import unpack_answer
from actor_client.backoff import Backoff
from actor_client.heartbeat import Heartbeat
from actor_client.line import LATER, Line, UnansweredError
from actor_client.settings import ActorSettings
from corral.protocol import (
    ENDED,
    ROW,
    ErrorCode,
    Hello,
    MessageType,
    ProtocolError,
    Spec,
    TensorSpec,
    Welcome,
    Work,
    open_dealer,
    pack_control,
    pack_header,
    spec_from_wire,
    spec_to_wire,
    unpack_control,
)
from corral.protocol.keys import Caller
from corral.protocol.limits import MAX_HOST
from corral.protocol.tensors import check_rows, to_frame
from corral.telemetry.tracer import span

log = logging.getLogger(__name__)

RETRY_S = 0.05
REPORT_EVERY_S = 2.0
"""Seconds between two signs of life at most: with them an actor tells where its time goes."""
LINGER_MS = 200
"""Milliseconds for which a goodbye may take to leave."""


class SessionLostError(Exception):
    """The server no longer knows the session: join again, and reset every environment."""


@dataclass(frozen=True)
class Rows:
    """What an actor sends in one STEP.

    Attributes:
      environment: uint16 `[n]`, ascending: which environments the rows are of.
      reward: float32 `[n]`: of the step that led to the row; 0 where there was none.
      flags: uint16 `[n]`: `RowFlags`.
      observation: leaf -> `[n, ...]`: what to act on.
      final: leaf -> `[m, ...]`: the final observations of the `m` rows whose flags say that an episode ended,
        in their order.
    """

    environment: np.ndarray
    reward: np.ndarray
    flags: np.ndarray
    observation: Mapping[str, np.ndarray]
    final: Mapping[str, np.ndarray]


class ActorSession:
    """One session at a time with one server. Belongs to one thread.

    Attributes:
      policy_version: the one that computed the latest actions.
      first_environment: the run-wide number of the first environment, as the server has it.

    Args:
      address: the server's.
      observation: what the environments give, one row.
      action: what they take, one row.
      environments: how many there are.
      environment: what they are, by name and arguments, which the server compares with its own; empty says
        nothing.
      first_environment: the run-wide number of the first one; None lets the server choose.
      keys: where the server has keys.
      work: what the session has come to, for the server's figures; asked on another thread.
      stopping: asked while waiting; True ends the wait with `UnansweredError`.
    """

    def __init__(
        self,
        address: str,
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
    ) -> None:
        self._context = zmq.Context()
        self._address = address
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
        self._line = Line(
            self._context,
            address,
            resend_after_s=settings.resend_after_s,
            give_up_after_s=settings.give_up_after_s,
            keys=keys,
            stopping=stopping,
        )
        self._token = 0
        self._sequence = 0
        self._output: Spec = {}
        self._heartbeat: Heartbeat | None = None
        self.policy_version = 0
        self.first_environment = 0

    def join(self) -> None:
        """Open a session, waiting for as long as the server is not ready, full or away.

        Raises:
          ProtocolError: the server will not have this actor: another version, other spaces.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        started = time.monotonic()
        backoff = Backoff()
        told = ""
        nonce = secrets.randbits(64)
        sequence = 0
        while True:
            sequence += 1
            hello = pack_control(MessageType.HELLO, nonce, sequence, self._hello)
            try:
                _, frame = self._line.ask([hello], nonce, sequence)
                break
            except ProtocolError as error:
                if error.code not in LATER:
                    raise
                if error.text != told:
                    log.info("waiting for %s: %s", self._address, error.text)
                    told = error.text
                self._wait_for(error, started, backoff.next_s() if error.code is ErrorCode.BUSY else RETRY_S)
        welcome = unpack_control(Welcome, frame)
        self._token, self._sequence = welcome.session, 0
        self.first_environment = welcome.first_environment
        self._output = spec_from_wire(welcome.output)
        self._keep_alive(welcome.lease_s)

    @span("wait for answer", lambda action, session, rows: {"rows": len(action), "version": session.policy_version})
    def step(self, rows: Rows) -> np.ndarray:
        """Send rows and wait for their actions, `[n, ...]`.

        Raises:
          SessionLostError: join again, and reset every environment.
          ProtocolError: the rows were refused.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        frames = self._frames(rows)
        try:
            header, frame = self._line.ask(frames, self._token, self._sequence)
        except ProtocolError as error:
            if error.code in (ErrorCode.EXPIRED, ErrorCode.DRAINING):
                raise SessionLostError(error.text) from error
            raise
        self.policy_version, outputs = unpack_answer(header, frame, self._output)
        return outputs["action"]

    def leave(self) -> None:
        """End the session, so that its slots are free at once, and close the socket."""
        self._stop_heartbeat()
        if self._token:
            self._line.tell(pack_header(MessageType.BYE, self._token, 0))
        self._line.close(LINGER_MS)
        self._context.term()

    def abandon(self) -> None:
        """End the session from another thread than its own, which hangs: its slots are free at once."""
        if not self._token:
            return
        with zmq.Context() as context:
            line = open_dealer(context, self._address, self._keys)
            with suppress(zmq.Again):
                line.send(pack_header(MessageType.BYE, self._token, 0), zmq.NOBLOCK)
            line.close(LINGER_MS)

    def _frames(self, rows: Rows) -> list[bytes | memoryview]:
        count = check_rows(rows.observation, self._observation)
        table = np.empty(count, ROW)
        table["reward"], table["environment"], table["flags"] = rows.reward, rows.environment, rows.flags
        ended = int(np.count_nonzero(rows.flags & ENDED))
        self._sequence += 1
        head = pack_header(MessageType.STEP, self._token, self._sequence, count, ended)
        frames = [head + table.tobytes(), *(to_frame(leaf) for leaf in rows.observation.values())]
        if ended:
            check_rows(rows.final, self._observation)
            frames += [to_frame(leaf) for leaf in rows.final.values()]
        return frames

    def _wait_for(self, error: ProtocolError, started: float, pause_s: float) -> None:
        waited = time.monotonic() - started
        if self._stopping():
            raise UnansweredError("stopped while waiting for the server")
        if 0 < self._settings.give_up_after_s <= waited:
            raise UnansweredError(f"the server at {self._address} is not ready after {waited:.1f} s: {error.text}")
        time.sleep(pause_s)

    def _keep_alive(self, lease_s: float) -> None:
        self._stop_heartbeat()
        self._heartbeat = Heartbeat(
            self._context,
            self._address,
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
