"""The inference server: one thread that receives, batches, acts and answers; one that talks to the learner."""

from __future__ import annotations

import logging
import math
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from corral.agents import Agent, AgentSpec
from corral.protocol import (
    VERSION,
    Change,
    Command,
    ErrorCode,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    Question,
    Report,
    Work,
    pack_control,
    unpack_control,
    unpack_header,
    unpack_optional,
)
from corral.protocol.keys import Gate, Role, caller
from corral.protocol.sparing_log import SparingLog
from corral.protocol.unrolls import unroll_spec
from corral.protocol.waker import Waker
from corral.telemetry import Board
from corral.telemetry.tracer import span
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.hold import Hold
from inference_server.infer_service import InferService
from inference_server.learner_link import LearnerLink
from inference_server.ledger import Ledger
from inference_server.lockstep import Lockstep
from inference_server.outbox import Outbox
from inference_server.reception import Reception
from inference_server.reporter import Reporter
from inference_server.screen import Screen
from inference_server.service import leaving
from inference_server.sessions import Sessions
from inference_server.settings import Pace, ServerSettings
from inference_server.slots import Slots
from inference_server.stats import Stats
from inference_server.step_service import StepService
from inference_server.tuning import changed
from inference_server.unrolls import UnrollAssembler
from inference_server.workforce import Workforce

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 0.25
PATIENCE_S = 0.01
"""Seconds between two looks at what the learner has accepted, while the server drains."""
DRAIN_MESSAGES = 4096
"""Messages read before batches are looked at: a flood delays answers by so much at most."""
LONGEST_HEARTBEAT = 256
"""Bytes of a HEARTBEAT at most: what a few numbers take."""
MOST_EFFORT = 256
"""Effort spent on messages before batches are looked at. Rows taken in count as none of it, a sign of life or rows
that should come again later as 1, anything else, which may be costly, as all: a flood would delay every answer."""


# Plain numbers, since the members of an enumeration are found by a slow path, and every message is asked for these.
_STEP, _INFER = int(MessageType.STEP), int(MessageType.INFER)
_HEARTBEAT = int(MessageType.HEARTBEAT)
_SHORT_REFUSALS = (ErrorCode.BUSY, ErrorCode.DRAINING, ErrorCode.NOT_READY)
_NO_WEIGHTS = "no weights yet: the server waits for its learner"
_NO_HEADER = Header(VERSION, 0, 0, 0, 0, 0)


class InferenceServer:
    """Holds one agent and answers everyone with it.

    Usage: construct (binds the address), `warm()`, `run()`; `stop()` from any thread or signal handler.

    Args:
      settings: address, limits, batching.
      build: makes the agent; called once, after the address is bound.
      seed: of the exploration noise.
      environment: what actors must run, by name and arguments; empty takes any with the same spaces.
      number: which of the run's servers this is, from 0: each numbers the environments of actors that do not number
        their own from a place of its own on.
      learner: the learner's unroll and weight addresses; the first is None where nobody trains on what is done
        here. Without a learner the agent is served as it was built.
      steps: whether actors are served, STEP too, where there is no learner; else INFER alone.
      pace: which of the learner's versions are taken up; None takes every one.
      lockstep: says, of an agent, when all environments step together, for a run that can be repeated bit by bit;
        None answers each as soon as can be.
      keys: the folder of the server's keys; whoever connects must have keys too, and so must the learner.
      ledgers: folder for counts that outlive the server, however it dies; None keeps none.
      board: where to show how it does, four times a second.
      clock: seconds, monotonic.

    Raises:
      AddressError: the address cannot be listened on.
      KeysError: the keys cannot be used.
      PrecisionError: the agent cannot act in the precision that is wanted; or else `warm` says so.
    """

    def __init__(
        self,
        settings: ServerSettings,
        build: Callable[[], Agent],
        *,
        seed: int = 0,
        environment: str = "",
        number: int = 0,
        learner: tuple[str | None, str] | None = None,
        steps: bool = False,
        pace: Pace | None = None,
        lockstep: Callable[[AgentSpec], Lockstep] | None = None,
        keys: Path | str | None = None,
        ledgers: Path | None = None,
        board: Board | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = zmq.Context()
        self._settings = settings
        self._batching = settings.batching
        self._environment = environment
        self._board = board
        self._clock = clock
        self._complaints = SparingLog(log)
        self._stopping = self._draining = False
        self._waker = Waker()
        # Bound before anything is built: a taken address is told at once, and early actors wait in the queue.
        self._gate = Gate(keys, Role.SERVER) if keys else None
        self._frontend = Frontend(self._context, settings.address, insecure=settings.insecure, gate=self._gate)
        self.address = self._frontend.address
        self._engine = Engine(
            build(), settings.batching.bucket_sizes(), learns=learner is not None, replicas=settings.replicas,
            precision=settings.precision, wake=self._waker.wake, clock=clock,
        )  # fmt: skip
        self._spec = spec = self._engine.agent.spec
        self._slots = Slots(settings.max_environments, spec.state, seed, self._engine.agent.exploration)
        first = number * settings.max_environments
        self._sessions = Sessions(self._slots, settings.lease_s, clock, first_number=first)
        self._stats = Stats(clock)
        self._workforce = Workforce(clock)
        self._outbox = Outbox(settings.unrolls.when_full)
        screen = Screen(spec.observation, settings.non_finite)
        self._infer = InferService(settings.batching, self._engine, self._frontend, screen, self._stats, clock)
        self._step: StepService | None = None
        self._link: LearnerLink | None = None
        assembler: UnrollAssembler | None = None
        if learner is not None:
            parts = unroll_spec(spec.observation, spec.outputs, spec.state)
            self._link = LearnerLink(
                *learner,
                parts,
                spec.unroll_length,
                self._engine if pace is None else Hold(self._engine, pace, seed, clock),
                self._outbox,
                self._waker.wake,
                caller(keys, Role.SERVER, towards=Role.LEARNER),
            )
            if self._link.delivers:
                assembler = UnrollAssembler(settings.max_environments, parts, spec.unroll_length, spec.overlap)
        self._lockstep = lockstep(spec) if lockstep is not None else None
        if learner is not None or steps:
            ledger = Ledger(ledgers if assembler else None, self._link.identity if self._link else 0)
            self._step = StepService(
                settings.batching, self._engine, self._frontend, screen, self._slots, self._sessions,
                assembler, self._outbox, ledger, self._stats, clock, self._refuse,
                self._lockstep,
            )  # fmt: skip
        self._services: list[StepService | InferService] = [
            service for service in (self._step, self._infer) if service is not None
        ]
        self._reception = Reception(
            settings, spec, environment, self._slots, self._sessions, self._complaints,
            steps=self._step is not None, policy_version=lambda: self._engine.version,
        )  # fmt: skip
        self._reporter = Reporter(
            environment=environment, engine=self._engine, frontend=self._frontend, gate=self._gate,
            slots=self._slots, sessions=self._sessions, workforce=self._workforce, stats=self._stats,
            outbox=self._outbox, infer=self._infer, step=self._step, assembler=assembler, link=self._link,
            clock=clock,
        )  # fmt: skip
        self._last_housekeeping = clock()

    @property
    def spec(self) -> AgentSpec:
        """What the served agent takes and gives."""
        return self._spec

    @property
    def policy_version(self) -> int | None:
        """The policy version that acts; None before any. From any thread."""
        return self._engine.version if self._engine.ready else None

    def warm(self, progress: Callable[[int, int], Any] = lambda done, total: None) -> None:
        """Compile and run every bucket once. Until then nobody is answered."""
        self._engine.warm(progress)
        log.info("warm at %s: batches of %s rows", self.address, ", ".join(map(str, self._engine.buckets)))
        if self._link is not None and not self._engine.ready:
            log.info("waiting for the learner's first weights, from %s", self._link.weights_address)

    def run(self) -> None:
        """Serve until `stop`."""
        # Two threads compete for the interpreter: the default 5 ms between switches would be the latency.
        sys.setswitchinterval(1e-4)
        if self._link is not None:
            self._link.start()
        served = False  # who is asked to stop before owes nobody an answer
        try:
            while not self._stopping:
                self._wait()
                self._flip()
                self._engine.collect()
                self._receive_some()
                self._dispatch()
                self._keep_house()
                served = True
            if served:
                self._drain()
        finally:
            self._close()

    def stop(self) -> None:
        """Make `run` drain and return: within `drain_s` seconds and a batch.

        From any thread or signal handler; more than once is fine.
        """
        self._stopping = True
        self._waker.wake()

    def _drain(self) -> None:
        """Answer all that has come, refuse what comes now, and wait until the learner has what is complete."""
        deadline = self._clock() + self._settings.drain_s
        if self._board is not None:
            self._board.show(self._reporter.samples(), not_ready="it drains")
        self._receive_some(math.inf)
        self._draining = True
        for service in self._services:
            service.drain()
        self._receive_some(math.inf)
        link, outbox = self._link, self._outbox
        while link is not None and outbox.unaccepted_unrolls and not link.parted and self._clock() < deadline:
            if outbox.unsent:
                link.notice()
            self._wait(PATIENCE_S)
            self._flip()
            self._receive_some(math.inf)
        if outbox.unaccepted_unrolls:
            why = (
                "the learner had left" if link is not None and link.parted else "it took too long (server.drain_s)"
            )
            log.warning("%d complete unrolls were not accepted, and are lost: %s", outbox.unaccepted_unrolls, why)

    def _flip(self) -> None:
        """Take up offered weights, if any; between two batches."""
        if self._engine.flip() and self._step is not None:
            self._step.flipped()

    def _close(self) -> None:
        self._engine.close()
        if self._link is not None and self._link.is_alive():
            self._link.stop()
            self._link.join(5)
        if self._step is not None:
            self._step.close()
        self._frontend.close()
        self._context.destroy(linger=0)

    def _wait(self, longest_s: float = HOUSEKEEPING_S) -> None:
        """Sleep until there is news, or a batch falls due."""
        if self._frontend.pending() or any(service.due() for service in self._services):
            return
        waits = [longest_s, *(service.wait_s() for service in self._services)]
        # select, since zmq's own poll counts in whole milliseconds and timeouts are given in microseconds.
        timeout = min(wait for wait in waits if wait is not None)
        self._nap(timeout)
        self._stats.delays.socket_is_empty()  # until just now
        self._waker.clear()

    @span("wait")
    def _nap(self, timeout_s: float) -> None:
        select.select([self._frontend.fileno, self._waker.fileno()], [], [], timeout_s)

    @span("receive")
    def _receive_some(self, most_effort: float = MOST_EFFORT) -> None:
        """Read what has come: until nothing waits, or it was effort enough."""
        delays, step = self._stats.delays, self._step
        began, waited = self._clock(), step.waiting_requests if step is not None else 0
        effort = messages = 0
        while (begun := self._frontend.begin()) is not None:
            effort += self._receive(*begun)
            messages += 1
            if effort >= most_effort or messages == DRAIN_MESSAGES:
                break
        if step is not None and messages:
            delays.reads(began, step.waiting_requests - waited)
        if begun is None:
            delays.socket_is_empty()

    def _receive(self, routing: bytes, head: bytes) -> int:
        """Take a message in; the effort that it was."""
        header, effort = _NO_HEADER, MOST_EFFORT
        try:
            header = unpack_header(head)
            if self._gate is None or self._admits(self._gate, header):
                effort = self._handle(routing, header, head)
        except ProtocolError as error:
            if header.type in (_STEP, _INFER) and error.code in _SHORT_REFUSALS:
                effort = 1
            self._refuse(routing, header.session, header.sequence, error)
        except Exception:
            # A defect of ours may cost one request its answer, never the others theirs.
            log.exception("a request failed")
            defect = ProtocolError(ErrorCode.INTERNAL, "a defect; see the server's log")
            self._refuse(routing, header.session, header.sequence, defect)
        self._frontend.discard()
        return effort

    def _admits(self, gate: Gate, header: Header) -> bool:
        """Whether the key of the begun message may send it; a session belongs to the key that opened it.

        Raises:
          ProtocolError: FORBIDDEN, or EXPIRED for another's session.
        """
        if not gate.check(self._frontend.key, header.type):
            return False
        session = self._sessions.find(header.session)
        if session is not None and session.key != self._frontend.key:
            raise _expired()
        return True

    def _handle(self, routing: bytes, header: Header, head: bytes) -> int:
        """Do what a message asks; the effort that it was."""
        if header.type == _STEP and self._step is not None:
            self._step.receive(routing, header, head)
        elif header.type == _INFER:
            self._check_ready()
            self._infer.receive(routing, header, head)
        elif header.type == _HEARTBEAT:
            return self._touch(header, head)
        else:
            self._handle_seldom(routing, header, head)
            return MOST_EFFORT
        return 0

    def _handle_seldom(self, routing: bytes, header: Header, head: bytes) -> None:
        match header.type:
            case MessageType.HELLO:
                self._greet(routing, header, unpack_control(Hello, head))
            case MessageType.BYE:
                self._part(header)
            case MessageType.STATUS:
                question = unpack_optional(Question, head)
                self._report(routing, header, question.actors if question is not None else 0)
            case MessageType.SET:
                self._set(unpack_control(Change, head))
                self._report(routing, header)
            case MessageType.COMMAND:
                self._obey(unpack_control(Command, head))
                self._report(routing, header)
            case MessageType.STEP:
                raise ProtocolError(ErrorCode.UNKNOWN_TYPE, "this server has no learner: it answers INFER only")
            case _:
                raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"a server takes no messages of type {header.type}")

    def _report(self, routing: bytes, header: Header, actors: int = 0) -> None:
        """Tell how the server does, and at most so many of its actors."""
        figures = self._reporter.figures(self._batching, draining=self._draining)
        if actors > 0:
            figures["actor_table"] = self._reporter.actor_table(actors)
        report = pack_control(MessageType.REPORT, header.session, header.sequence, Report(figures))
        self._frontend.send(routing, report)

    def _obey(self, command: Command) -> None:
        """Do what an operator wants done once. Raises `ProtocolError` (COMMAND)."""
        if command.name != "drain":
            raise ProtocolError(ErrorCode.COMMAND, f"a server can be told to drain, not to {command.name[:100]!r}")
        log.info("told to drain")
        self.stop()

    def _set(self, change: Change) -> None:
        """Change settings between two batches. Raises `ProtocolError` (SETTING)."""
        if self._lockstep is not None:
            raise ProtocolError(ErrorCode.SETTING, "a run with run.determinism has one batch, which cannot change")
        self._batching = batching = changed(self._batching, change.settings, self._engine.buckets)
        self._engine.use_buckets(batching.bucket_sizes())
        for service in self._services:
            service.configure(batching)
        log.info("settings changed: %s", ", ".join(f"{key} = {value}" for key, value in change.settings.items()))

    def _check_ready(self) -> None:
        if not self._engine.ready:
            raise ProtocolError(ErrorCode.NOT_READY, _NO_WEIGHTS)

    def _greet(self, routing: bytes, header: Header, hello: Hello) -> None:
        self._reception.check(hello)  # what will never fit is told now, not when there are weights
        if self._draining:
            raise leaving()
        self._check_ready()
        welcome = self._reception.welcome(routing, header.session, hello, self._frontend.key)
        self._frontend.send(routing, pack_control(MessageType.WELCOME, header.session, header.sequence, welcome))

    def _touch(self, header: Header, head: bytes) -> int:
        """Take a sign of life; the effort that it was."""
        session = self._sessions.find(header.session)
        if session is None:
            raise _expired()
        self._sessions.touch(session)
        if len(head) > LONGEST_HEARTBEAT:
            raise ProtocolError(ErrorCode.MALFORMED, f"a HEARTBEAT has at most {LONGEST_HEARTBEAT} bytes")
        work = unpack_optional(Work, head)
        if work is None:
            return 1
        self._workforce.hear(session, work)
        return 2

    def _part(self, header: Header) -> None:
        session = self._sessions.find(header.session)
        if session is not None and self._step is not None:
            self._complaints.say(logging.INFO, "an actor left: its %d environments are free", len(session.slots))
            self._step.forget(session)

    def _refuse(self, routing: bytes, session: int, sequence: int, error: ProtocolError) -> None:
        self._stats.error(error.code, error.text)
        log.debug("refused: %s", error)
        self._frontend.send_error(routing, session, sequence, error)
        lies = (ErrorCode.MALFORMED, ErrorCode.SPEC, ErrorCode.LIMIT)
        liar = self._sessions.find(session) if error.code in lies else None
        if liar is not None and self._sessions.strike(liar) and self._step is not None:
            text = "a session sent %d malformed messages and was ended; the last: %s"
            self._complaints.say(logging.WARNING, text, liar.strikes, error)
            self._step.forget(liar)

    def _dispatch(self) -> None:
        # One batch of each kind, then the socket again: neither kind makes the other wait for more than one, and
        # who is refused hears of it at once.
        self._note_blocks()
        for service in self._services:
            if reason := service.due():
                service.run(reason)
                self._flip()
        self._note_blocks()
        if self._link is not None and self._outbox.unsent:
            self._link.notice()

    def _note_blocks(self) -> None:
        self._stats.delays.blocked(self._step is not None and self._step.blocked)

    def _keep_house(self) -> None:
        now = self._clock()
        away_s = now - self._last_housekeeping
        if away_s < HOUSEKEEPING_S:
            return
        self._last_housekeeping = now
        self._stats.tick()
        if self._board is not None:
            self._board.show(self._reporter.samples(), not_ready="" if self._engine.ready else _NO_WEIGHTS)
        revoked = self._gate.look_again() if self._gate is not None else ()
        if self._step is None:
            return
        for session in self._sessions if revoked else ():
            if session.key in revoked:
                log.warning("a key was revoked: its actor's %d environments are free", len(session.slots))
                self._step.forget(session)
        # Nobody can show a sign of life by stepping while the learner makes everyone wait, and nobody's was seen
        # while this process itself was stopped.
        stopped = away_s > self._settings.lease_s / 2
        if stopped or self._step.blocked:
            for session in self._sessions:
                if stopped or session.waiting:
                    self._sessions.touch(session)
        for session in self._sessions.expired():
            if self._lockstep is None:
                text = "an actor fell silent: its %d environments are free"
                self._complaints.say(logging.WARNING, text, len(session.slots))
                self._step.forget(session)
            else:
                text = (
                    "the actor with environments from %d on is silent, and all others wait for it (run.determinism)"
                )
                self._complaints.say(logging.WARNING, text, session.first_environment)
                self._sessions.touch(session)  # to be told once in each lease


def _expired() -> ProtocolError:
    return ProtocolError(ErrorCode.EXPIRED, "no such session here: say HELLO again and reset")
