"""Unrolls as they come in: accepted once each, in order, and handed out in training batches."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from corral.protocol import (
    VERSION,
    Command,
    ErrorCode,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    Report,
    Spec,
    Unroll,
    UnrollManifest,
    Welcome,
    pack_control,
    pack_header,
    unpack_control,
)
from corral.protocol.limits import MAX_COUNT
from corral.protocol.unrolls import Leaves, cut_columns, side_by_side, to_unroll, unrolls_in
from corral.telemetry.tracer import span
from learner.listener import MAX_SERVERS, Listener, check_server
from learner.server_line import Account, ServerLine
from learner.unroll_form import UnrollForm, check_manifest

log = logging.getLogger(__name__)

REMEMBERED = 1024
"""Servers whose cursors a checkpoint holds: every restart of a server is a new one."""


class Position(NamedTuple):
    """How far acceptance has come.

    Attributes:
      accounts: by server identity, of the servers that were heard last.
      env_steps: completed in accepted parcels so far.
      episodes: `(return, length)` of those that ended since the last time this was asked.
      waiting: unrolls that nobody has taken yet, as views.
      steps_accepted: environment steps in the unrolls that were accepted so far.
      steps_lost: those that an earlier life had accepted behind its last checkpoint, as far as is known.
    """

    accounts: dict[int, Account]
    env_steps: int
    episodes: list[tuple[float, int]]
    waiting: list[Leaves]
    steps_accepted: int
    steps_lost: int


class UnrollSource(Listener):
    """Listens for servers and hands their unrolls to a training loop, in batches.

    A parcel is *accepted* when it enters the queue; only then is its server told, and may send more. What waits
    is bounded: `queue` unrolls here, and as many again on each server. It belongs to one training thread.

        source = UnrollSource("tcp://127.0.0.1:5556")
        for unroll in source.batches(32):
            train(unroll)

    Args:
      address: where servers deliver.
      queue: unrolls that may wait for training.
      ahead: whether unrolls are accepted before they are asked for. If not, none wait here: servers have the next
        ones ready, and their actors wait while training goes on, so that what comes is of a younger policy.
      insecure: listen on an address that other machines can reach, without keys.
      keys: the folder of the learner's keys; whoever connects must have keys too.
      report: figures for whoever asks for the status; called by the listening thread.
      obey: does what a COMMAND names, on the listening thread; raises `ProtocolError` (COMMAND) for what it cannot
        do.
      expect: the unroll's parts that servers must hold; None takes them from the first server.
      length: transitions in an unroll; 0 takes it from the first server.
      accounts: what an earlier life of this learner had accepted until its last checkpoint, as `position` told it.
        None of that is accepted again. None for a first life.
      epoch: of a run in lockstep, the one whose weights a server has to act with before it delivers; then there is
        one server, and no other in its place. None takes whichever come.

    Attributes:
      env_steps, unrolls, steps_accepted: accepted so far.
      parcels_lost: parcels that the earlier life had accepted behind its last checkpoint.
      steps_lost: environment steps in them; known of each server with the next parcel that comes from it.

    Raises:
      AddressError: the address cannot be listened on.
      KeysError: the keys cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        queue: int = 64,
        ahead: bool = True,
        insecure: bool = False,
        keys: Path | str | None = None,
        report: Callable[[], dict[str, Any]] = dict,
        obey: Callable[[str], None] | None = None,
        expect: dict[str, Spec] | None = None,
        length: int = 0,
        accounts: Mapping[int, Account] | None = None,
        epoch: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(address, name="unroll-source", insecure=insecure, keys=keys)
        self._queue = queue
        self._ahead = ahead
        self._wanted = 0
        self._report = report
        self._obey = obey
        self._form = UnrollForm(expect, length)
        self._epoch = epoch
        self._servers: dict[int, ServerLine] = {}
        self._resumed = accounts is not None
        # Of servers that are not here: heard by the life before, or forgotten since.
        self._gone = dict(accounts or {})
        self._changed = threading.Condition()
        self._ready: deque[Leaves] = deque()
        self._ready_unrolls = 0
        self._waiting_episodes: list[tuple[float, int]] = []
        self.env_steps = 0
        self.unrolls = 0
        self.parcels_lost = 0
        self.steps_accepted = 0
        self.steps_lost = 0
        self._thread.start()

    def batches(self, unrolls: int) -> Iterator[Unroll]:
        """Batches of exactly `unrolls` unrolls, for as long as the source is open."""
        while not self._stopping:
            batch = self.next(unrolls, timeout_s=1.0)
            if batch is not None:
                yield batch

    def next(self, unrolls: int, timeout_s: float) -> Unroll | None:
        """The next `unrolls` unrolls side by side, or None where fewer have come within `timeout_s`.

        Raises:
          ValueError: so many will never come: fewer than 1, or more than the queue holds.
        """
        if unrolls < 1:
            raise ValueError(f"a batch has 1 unroll or more, not {unrolls}")
        if unrolls > self._queue:
            raise ValueError(f"a batch of {unrolls} unrolls does not fit a queue of {self._queue}")
        with self._asking(unrolls):
            enough = self._changed.wait_for(lambda: self._ready_unrolls >= unrolls or self._stopping, timeout_s)
            if not enough or self._stopping:
                return None
            taken = self._take(unrolls)
        self._waker.wake()
        return to_unroll(side_by_side(taken))

    def take(self, most: int, timeout_s: float) -> Leaves | None:
        """Up to `most` unrolls, 1 or more, as many as there are; or None where none has come within `timeout_s`."""
        with self._asking(most):
            some = self._changed.wait_for(lambda: self._ready_unrolls or self._stopping, timeout_s)
            if not some or self._stopping:
                return None
            taken = self._take(min(most, self._ready_unrolls))
        self._waker.wake()
        return side_by_side(taken)

    def episodes(self) -> list[tuple[float, int]]:
        """`(return, length)` of the episodes that ended since the last call, in order of acceptance."""
        return self.position().episodes

    def position(self) -> Position:
        """How far acceptance has come, at one moment; its episodes are not told again."""
        with self._changed:
            now = {identity: server.account for identity, server in self._servers.items()}
            ended, self._waiting_episodes = self._waiting_episodes, []
            latest = list((self._gone | now).items())[-REMEMBERED:]
            waiting = list(self._ready)
            return Position(dict(latest), self.env_steps, ended, waiting, self.steps_accepted, self.steps_lost)

    def put_back(self, leaves: Leaves) -> None:
        """Unrolls that were accepted in an earlier life, and not trained on: the next to be handed out.

        Raises:
          ValueError: they are of another shape than those that come in now.
        """
        ordered = self._form.ordered(leaves)
        with self._changed:
            self._ready.appendleft(ordered)
            self._ready_unrolls += unrolls_in(leaves)
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening. What was not accepted stays with the servers."""
        super().close()
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def _asking(self, unrolls: int) -> Iterator[None]:
        """Holds the lock, while so many unrolls are asked for."""
        with self._changed:
            self._wanted = min(unrolls, self._queue)
            if not self._ahead:
                self._waker.wake()  # for what waits to be accepted
            try:
                yield
            finally:
                self._wanted = 0

    def _take(self, unrolls: int) -> list[Leaves]:
        taken: list[Leaves] = []
        missing = unrolls
        while missing:
            columns = self._ready[0]
            count = columns["reward"].shape[1]
            if count <= missing:
                taken.append(self._ready.popleft())
                missing -= count
            else:
                taken.append(cut_columns(columns, 0, missing))
                self._ready[0] = cut_columns(columns, missing, count)
                missing = 0
        self._ready_unrolls -= unrolls
        return taken

    def _handle(self, routing: bytes, header: Header, head: bytes, frames: list[zmq.Frame]) -> None:
        if header.type == MessageType.UNROLLS:
            self._on_unrolls(routing, header, head, frames)
        elif header.type == MessageType.HELLO:
            self._on_hello(routing, header, unpack_control(Hello, head))
        elif header.type == MessageType.STATUS:
            self._tell(routing, header)
        elif header.type == MessageType.COMMAND and self._obey is not None:
            self._obey(unpack_control(Command, head).name)
            self._tell(routing, header)
        else:
            raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"a learner takes no messages of type {header.type}")

    def _tell(self, routing: bytes, header: Header) -> None:
        # A training loop of somebody's own has no figures, and is a learner all the same.
        figures = {"role": "learner", "ready": True} | self._report() | {"parcels_lost": self.parcels_lost}
        report = Report(figures)
        self._send(routing, [pack_control(MessageType.REPORT, header.session, header.sequence, report)])

    def _on_hello(self, routing: bytes, header: Header, hello: Hello) -> None:
        check_server(hello)
        self._form.take(hello.observation)
        server = self._servers.get(header.session)
        self._check_turn(hello, known=server is not None)
        if server is None:
            with self._changed:
                self._make_room()
                account, known = self._first_account(header)
                server = self._servers[header.session] = ServerLine(routing, account, known=known)
            self._complaints.say(logging.INFO, "a server has come: there are %d now", len(self._servers))
        server.routing = routing
        welcome = Welcome(VERSION, 0, 0, {}, {}, 0, 0.0, 0, cursor=server.account.cursor, window=self._queue)
        self._send(routing, [pack_control(MessageType.WELCOME, header.session, header.sequence, welcome)])

    def _check_turn(self, hello: Hello, *, known: bool) -> None:
        """Raises `ProtocolError` for a server that cannot deliver now, in lockstep."""
        if self._epoch is None:
            return
        if self._servers and not known:
            raise ProtocolError(
                ErrorCode.BUSY,
                "another server came before, and what that one has begun is lost (run.determinism): start the "
                "learner again, which goes on from its last checkpoint",
            )
        if hello.epoch != self._epoch():
            raise ProtocolError(
                ErrorCode.NOT_READY, f"this learner's weights (epoch {self._epoch()}) do not act there yet"
            )

    def _first_account(self, header: Header) -> tuple[Account, bool]:
        """Where a server begins that greets us for the first time in this life, and whether a gap is a loss."""
        named = max(header.sequence - 1, 0)  # its greeting names its first unaccepted parcel
        if named >= MAX_COUNT:
            raise ProtocolError(ErrorCode.LIMIT, f"parcels are numbered 1 to {MAX_COUNT}, not {header.sequence}")
        before = self._gone.pop(header.session, None)
        known = self._resumed or before is not None
        before = before or Account(0)
        if self._resumed and named > before.cursor:
            self.parcels_lost = min(self.parcels_lost + named - before.cursor, MAX_COUNT)
            lost = "%d parcels, accepted after the last checkpoint, are lost"
            self._complaints.say(logging.WARNING, lost, named - before.cursor)
        return before._replace(cursor=max(named, before.cursor)), known

    def _make_room(self) -> None:
        """Forget a server where there are too many: they come and go, and anybody can greet.

        Who only greeted has half of the room, so that no flood of greetings drives out who delivers, and newcomers
        find a place all the same. Of either kind the one leaves that came, or delivered, longest ago. The cursor
        of one that delivered is kept: if it still lives, it greets again and goes on from there.

        Raises:
          ProtocolError: BUSY where all wait for room in the queue.
        """
        if len(self._servers) < MAX_SERVERS:
            return
        idle = [(identity, server.delivered) for identity, server in self._servers.items() if not server.has_next]
        strangers = [identity for identity, delivered in idle if not delivered]
        others = [identity for identity, delivered in idle if delivered]
        if not idle:
            raise ProtocolError(ErrorCode.BUSY, f"{len(self._servers)} servers wait for the learner already")
        many = len(strangers) > MAX_SERVERS // 2
        leaving = strangers[0] if many or not others else others[0]
        server = self._servers.pop(leaving)
        if server.delivered:
            self._gone[leaving] = server.account
            if len(self._gone) > REMEMBERED:
                del self._gone[next(iter(self._gone))]

    def _on_unrolls(self, routing: bytes, header: Header, head: bytes, frames: list[zmq.Frame]) -> None:
        server = self._servers.get(header.session)
        if server is None:
            raise ProtocolError(ErrorCode.EXPIRED, "no such server here: say HELLO again")
        server.routing = routing
        if header.sequence <= server.account.cursor:
            self._acknowledge(header.session, server)  # a resend: the first acknowledgement was lost
            return
        if not server.fits(header.sequence, self._queue):
            # A resend of what waits here already; or more than the window that was granted, which an honest server
            # never sends.
            return
        gapped = not server.is_next(header.sequence) and not server.has_next
        if gapped and self._gapped_unrolls() >= self._queue:
            # What comes behind a gap is kept, for the resend that closes it then delivers all at once: as much as
            # the queue holds, from all servers together. The rest will be sent again, too.
            return
        manifest = unpack_control(UnrollManifest, head)
        check_manifest(manifest)
        server.put(header.sequence, manifest, self._form.leaves(manifest.unrolls, frames))

    def _gapped_unrolls(self) -> int:
        """Unrolls that wait behind gaps: nobody knows whether these will ever be closed."""
        return sum(server.unrolls for server in self._servers.values() if not server.has_next)

    def _work(self) -> None:
        """Move what fits from the servers' lines into the queue, and tell the servers."""
        accepted = {}
        with self._changed:
            room = self._queue if self._ahead else self._wanted
            while self._ready_unrolls < room and (identity := self._next_server()) is not None:
                accepted[identity] = self._servers[identity]
                self._accept_from(accepted[identity])
            if accepted:
                self._changed.notify_all()
        for identity, server in accepted.items():
            self._acknowledge(identity, server)

    def _next_server(self) -> int | None:
        """Whose turn it is, of those with something to deliver; it goes to the end of the line."""
        # In turn, for a server that always has something would otherwise leave no room for the others.
        identity = next((identity for identity, server in self._servers.items() if server.has_next), None)
        if identity is not None:
            self._servers[identity] = self._servers.pop(identity)
        return identity

    @span("accept unrolls")
    def _accept_from(self, server: ServerLine) -> None:
        manifest, leaves, lost = server.accept()
        self.steps_accepted += manifest.held
        self.steps_lost = min(self.steps_lost + lost, MAX_COUNT)
        self._ready.append(leaves)
        self._ready_unrolls += manifest.unrolls
        self.unrolls += manifest.unrolls
        self.env_steps += manifest.steps
        self._waiting_episodes += [(float(value), int(length)) for value, length in manifest.episodes]

    def _part(self) -> None:
        for identity, server in self._servers.items():
            self._send(server.routing, [pack_header(MessageType.BYE, identity, server.account.cursor)])

    def _acknowledge(self, identity: int, server: ServerLine) -> None:
        self._send(server.routing, [pack_header(MessageType.ACCEPTED, identity, server.account.cursor)])
