"""Greetings: who may come in, and what whoever comes in is told (docs/protocol.md, "Asking")."""

from __future__ import annotations

import logging
from collections.abc import Callable

from corral.agents import AgentSpec
from corral.protocol import (
    VERSION,
    ErrorCode,
    Hello,
    ProtocolError,
    TensorSpec,
    Welcome,
    describe,
    mismatch,
    spec_from_wire,
    spec_to_wire,
)
from corral.protocol.limits import MAX_HOST
from corral.protocol.sparing_log import SparingLog
from inference_server.sessions import Session, Sessions
from inference_server.settings import ServerSettings
from inference_server.slots import Slots
from inference_server.step_service import REPLY


class Reception:
    """Receives actors and clients. Belongs to the serving thread.

    Args:
      environment: what actors must run, by name and arguments; empty takes any with the same spaces.
      complaints: where comings are told.
      steps: whether actors are served, or clients alone.
      policy_version: the version that acts now.
    """

    def __init__(
        self,
        settings: ServerSettings,
        spec: AgentSpec,
        environment: str,
        slots: Slots,
        sessions: Sessions,
        complaints: SparingLog,
        *,
        steps: bool,
        policy_version: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._environment = environment
        self._slots = slots
        self._sessions = sessions
        self._complaints = complaints
        self._steps = steps
        self._policy_version = policy_version

    def check(self, hello: Hello) -> None:
        """Whether this caller can ever be served. Raises `ProtocolError`, with both sides' values."""
        hello.check_version()
        if hello.role == "actor":
            self._check_actor(hello)

    def welcome(self, routing: bytes, nonce: int, hello: Hello, key: str) -> Welcome:
        """Let a caller in that `check` had nothing against; an actor gets a session.

        Args:
          routing: where it calls from.
          key: whose key it came under; empty where there are no keys.

        Raises:
          ProtocolError: MALFORMED for another role, BUSY or LIMIT for an actor that finds no slots.
        """
        token = first_environment = 0
        outputs = self._spec.outputs
        if hello.role == "actor":
            session = self._seat(routing, nonce, hello, key)
            token, first_environment = session.token, session.first_environment
            outputs = {name: outputs[name] for name in REPLY}
        elif hello.role != "client":
            raise ProtocolError(ErrorCode.MALFORMED, f'a server greets "actor" and "client", not {hello.role!r}')
        return Welcome(
            version=VERSION,
            session=token,
            first_environment=first_environment,
            observation=spec_to_wire(self._spec.observation),
            output=spec_to_wire(outputs),
            max_rows=self._settings.batching.max_size,
            lease_s=self._settings.lease_s,
            policy_version=self._policy_version(),
            cursor=0,
            window=1,
            taken=self._slots.used,
            slots=self._slots.capacity,
        )

    def _check_actor(self, hello: Hello) -> None:
        if not self._steps:
            raise ProtocolError(ErrorCode.UNKNOWN_TYPE, "this server has no learner: it answers clients only")
        observation, action = spec_from_wire(hello.observation), spec_from_wire(hello.action)
        if hello.environment and self._environment and hello.environment != self._environment:
            ours = f"{self._environment}, {describe(self._spec.observation)}, action {self._action()}"
            theirs = f"{hello.environment}, {describe(observation)}, action {', '.join(map(str, action.values()))}"
            raise ProtocolError(
                ErrorCode.SPEC, f"environments differ: the server's is {ours}; this actor's is {theirs}"
            )
        wrong = mismatch(self._spec.observation, observation)
        if wrong:
            raise ProtocolError(ErrorCode.SPEC, f"observations differ (here: the server): {wrong}")
        wrong = mismatch({"action": self._action()}, action, bounds=True)
        if wrong:
            raise ProtocolError(ErrorCode.SPEC, f"actions differ (here: the server): {wrong}")
        most = self._settings.batching.max_size
        if hello.environments > most:
            raise ProtocolError(
                ErrorCode.LIMIT,
                f"{hello.environments} environments step in one message of at most {most} rows: give this actor "
                "fewer, or raise server.batching.max_size",
            )

    def _seat(self, routing: bytes, nonce: int, hello: Hello, key: str) -> Session:
        before = len(self._sessions)
        session = self._sessions.open(nonce, routing, hello.environments, hello.first_environment, key)
        if len(self._sessions) > before:
            session.host = hello.host[:MAX_HOST]
            last = session.first_environment + hello.environments - 1
            text = "an actor joined with environments %d to %d"
            self._complaints.say(logging.INFO, text, session.first_environment, last)
        return session

    def _action(self) -> TensorSpec:
        assert self._spec.action is not None
        return self._spec.action
