"""The server's side of an actor's sessions: what it says, and what it expects to hear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from tests.conformance.counter import ACTION, ACTIONS, ENVIRONMENTS, Counter
from tests.conformance.greetings import TOO_SOON_S, check_actor, expect, not_too_soon, welcome
from tests.conformance.stage import Failed, Message, Stage
from tests.conformance.wire import (
    ACTIONS as ANSWER,
)
from tests.conformance.wire import (
    BYE,
    FIRST,
    HELLO,
    STEP,
    WELCOME,
    Header,
    Row,
    pack_answer,
    pack_header,
    read_step,
)

TOKEN = 0xFEDCBA9876543210
"""Has its highest bit set: neither a signed number nor a float holds it."""


class Actors:
    """The server's side of sessions with one actor.

    Attributes:
      token: of the session that is open, or was last.
      sequence: the last one that was answered.
    """

    def __init__(self, stage: Stage, lease_s: float = 30) -> None:
        self.stage = stage
        self.token = TOKEN
        self.sequence = 0
        self._lease_s = lease_s
        self._nonces: set[int] = set()
        self._spec: Mapping[str, Any] = {}
        self._counters = [Counter(environment) for environment in range(ENVIRONMENTS)]
        self._actions: list[int | None] = []
        self._kept: tuple[Message, bytes] | None = None

    def greeted(self) -> Message:
        """The HELLO of an actor that joins: each with a new nonce. It may say BYE to the session that is over."""
        message = self._receive(HELLO, BYE if self._nonces else HELLO)
        if message.header.type == BYE:
            expect(message.header.session, self.token, "the session of BYE")
            message = self._receive(HELLO)
        if message.header.session in self._nonces | {0, self.token}:
            raise Failed(f"joining takes a new random nonce; {message.header.session} is none (HELLO)")
        self._nonces.add(message.header.session)
        self._spec = check_actor(message)
        return message

    def greeted_again(self, first: Message, *, pause_s: float = TOO_SOON_S) -> Message:
        """The same HELLO once more: its nonce and its body stand; its sequence may be another."""
        message = self._receive(HELLO)
        expect(message.header.session, first.header.session, "the nonce of a HELLO that is said again")
        expect(message.frames[0][24:], first.frames[0][24:], "the body of a HELLO that is said again")
        not_too_soon(first, message, pause_s)
        return message

    def welcome(self, hello: Message, pack: Callable[[Mapping[str, Any]], bytes] = msgpack.packb) -> bytes:
        """Open a session for `hello`, and say so, with `pack` for the body; the frame that said it."""
        self.token = TOKEN - len(self._nonces)
        self.sequence = 0
        self._actions = [None] * ENVIRONMENTS
        header = Header(WELCOME, 0, 0, hello.header.session, hello.header.sequence)
        body = welcome(self._spec, session=self.token, lease_s=self._lease_s, output=ACTION)
        frame = pack_header(header) + pack(body)
        self.stage.send(hello, frame)
        self._kept = hello, frame
        return frame

    def joined(self) -> None:
        """Greeting and welcome."""
        self.welcome(self.greeted())

    def stepped(self) -> Message:
        """The next STEP: every field and every byte of it is checked."""
        message = self._receive(STEP)
        expect(message.header.session, self.token, "the session of a STEP")
        expect(message.header.sequence, self.sequence + 1, "the sequence of a STEP")
        self._check(read_step(message.frames, self._spec))
        return message

    def stepped_again(self, first: Message) -> Message:
        """The same STEP once more, byte for byte."""
        message = self._receive(STEP)
        if message.frames != first.frames:
            raise Failed("a STEP that is sent again must be the same frames (Asking; Sequence)")
        not_too_soon(first, message)
        return message

    def act(self, step: Message) -> bytes:
        """Answer a STEP; the frame that did."""
        self.sequence = step.header.sequence
        rows = step.header.rows
        actions = [(3 * self.sequence + place + self.token) % ACTIONS for place in range(rows)]
        self._actions = [*actions]
        frame = self.answer(step, actions)
        self.stage.send(step, frame)
        self._kept = step, frame
        return frame

    def answer(self, step: Message, actions: list[int]) -> bytes:
        """ACTIONS for a STEP, said to nobody."""
        header = Header(ANSWER, step.header.rows, 0, step.header.session, step.header.sequence)
        return pack_answer(header, 7, [("int64", actions)])

    def steps(self, count: int) -> None:
        """So many STEPs, each answered at once."""
        for _ in range(count):
            self.act(self.stepped())

    def farewell(self) -> None:
        """BYE, and a client that ends with 0."""
        message = self._receive(BYE)
        expect(message.header.session, self.token, "the session of BYE")
        expect((len(message.frames[0]), message.header.rows), (24, 0), "length and rows of BYE (Control messages)")
        expect(self.stage.exit_code(), 0, "the client's exit code")

    def _receive(self, *types: int) -> Message:
        """The next message, of one of these types. One that was answered is answered again, as by a server."""
        message = self.stage.receive()
        while self._kept is not None and message.frames == self._kept[0].frames:
            not_too_soon(self._kept[0], message)
            self.stage.send(message, self._kept[1])
            message = self.stage.receive()
        header = message.header
        if header.type in types:
            return message
        wanted = Header(types[0], 0, 0, 0, 0).name
        raise Failed(
            f"a {header.name} (session {header.session}, sequence {header.sequence}) came; {wanted} was due"
        )

    def _check(self, rows: list[Row]) -> None:
        expect([row.environment for row in rows], list(range(ENVIRONMENTS)), "the environments of a STEP")
        for row, counter, action in zip(rows, self._counters, self._actions, strict=True):
            if action is None:
                self._meet(row, counter)
            wanted = counter.row(action)
            for field in ("flags", "reward", "observation", "final"):
                what = f"{field} of environment {row.environment} in STEP {self.sequence + 1} (Steps)"
                expect(getattr(row, field), getattr(wanted, field), what)

    def _meet(self, row: Row, counter: Counter) -> None:
        """A session's first row: the environment was reset, in whatever episode that is."""
        episode, count = map(int, row.observation["count"])
        if not row.flags & FIRST or count or episode <= counter.episode:
            raise Failed(
                f"environment {row.environment} was not reset for its new session: flags {row.flags}, episode "
                f"{episode} after {counter.episode}, step {count} (EXPIRED)"
            )
        counter.episode = episode - 1
