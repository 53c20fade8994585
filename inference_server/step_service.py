"""STEP: rows of environments in, actions out, and every step into its unroll, once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from corral.protocol import ENDED, HEADER_BYTES, ROW, ErrorCode, Header, MessageType, ProtocolError, RowFlags
from corral.telemetry.tracer import span
from inference_server.answers import Answers
from inference_server.batch import Batch, Request
from inference_server.batcher import Reason
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.ledger import Ledger
from inference_server.lockstep import Lockstep
from inference_server.noise import uniforms
from inference_server.outbox import Outbox
from inference_server.replica import Inputs, Task
from inference_server.screen import Screen
from inference_server.service import Service, leaving
from inference_server.sessions import Admission, Session, Sessions
from inference_server.settings import BatchingSettings
from inference_server.slots import Slots
from inference_server.stats import Stats
from inference_server.unrolls import Steps, UnrollAssembler

log = logging.getLogger(__name__)

REPLY = ("action",)
"""The output leaves that an actor is sent."""

_BROKEN = (
    "an actor has left, and nothing is stepped without it (run.determinism): once it is back, start the learner "
    "again, which goes on from its last checkpoint"
)
_ROW_BYTES = ROW.itemsize
_FIRST, _ENDED = np.uint16(RowFlags.FIRST), np.uint16(ENDED)


class StepService(Service):
    """Answers STEP: admits each step once, batches it, acts, and stores what came of it.

    Args:
      assembler: makes unrolls; None where nobody trains on them.
      lockstep: says when all environments step together; None where each has its answer as soon as can be.
    """

    def __init__(
        self,
        settings: BatchingSettings,
        engine: Engine,
        frontend: Frontend,
        screen: Screen,
        slots: Slots,
        sessions: Sessions,
        assembler: UnrollAssembler | None,
        outbox: Outbox,
        ledger: Ledger,
        stats: Stats,
        clock: Callable[[], float],
        refuse: Callable[[bytes, int, int, ProtocolError], None],
        lockstep: Lockstep | None = None,
    ) -> None:
        super().__init__(settings, engine, frontend, screen, stats, clock)
        self._slots = slots
        self._sessions = sessions
        self._assembler = assembler
        self._outbox = outbox
        self._ledger = ledger
        self._refuse = refuse
        self._lockstep = lockstep
        self._left: list[Session] = []
        spec, size = self._spec, settings.max_size
        initial = engine.agent.initial_state(1)
        self._initial = {name: np.asarray(initial[name], leaf.dtype)[0] for name, leaf in spec.state.items()}
        # One for every batch that can be under way.
        self._spare = [
            Inputs(
                observation={},
                state={name: leaf.zeros(size) for name, leaf in spec.state.items()},
                first=np.zeros(size, bool),
                noise=np.zeros((size, spec.noise), np.float32),
                explore=np.ones((size, spec.explore), np.float32),
            )
            for _ in range(len(engine.replicas) + 1)
        ]

    def receive(self, routing: bytes, header: Header, head: bytes) -> None:
        """Take a STEP in, or answer its resend. Raises `ProtocolError`."""
        sessions = self._sessions
        session = sessions.find(header.session)
        if session is None:
            raise ProtocolError(ErrorCode.EXPIRED, "no such session here: say HELLO again and reset")
        admission = sessions.admit(session, header.sequence)
        sessions.touch(session, routing)
        if admission is Admission.NEW:
            if self._draining:
                raise leaving()
            self._take_in(session, header, head)
        elif admission is Admission.ANSWERED:
            self._frontend.send(routing, session.reply)

    def _take_in(self, session: Session, header: Header, head: bytes) -> None:
        rows = header.rows
        slots = session.slots if rows == len(session.slots) else self._some_slots(session, rows, head)
        if len(head) != HEADER_BYTES + rows * _ROW_BYTES:
            raise _wrong_table(rows, head)
        if rows > self._queue.capacity:
            raise self._too_many(session, rows)
        batch = self._queue.room_for(rows)
        start, stop = batch.rows, batch.rows + rows
        frontend = self._frontend
        for leaf in batch.observation_rows:
            frontend.read_into(leaf, start, stop)
        if header.ended:
            # Rows that cannot all have ended find no room, and more than one message's never come.
            if header.ended > rows:
                raise ProtocolError(ErrorCode.MALFORMED, f"{header.ended} of {rows} rows cannot have ended")
            for leaf in batch.final_rows:
                frontend.read_into(leaf, batch.finals, batch.finals + header.ended)
        frontend.end()
        batch.table_rows.memory[start * _ROW_BYTES : stop * _ROW_BYTES] = head[HEADER_BYTES:]
        batch.slots[start:stop] = slots
        session.waiting = True
        self._queue.commit(batch, Request(session, b"", header.sequence, start, stop, session.seen, header.ended))

    def _some_slots(self, session: Session, rows: int, head: bytes) -> np.ndarray:
        """The slots of a STEP that holds some of a session's environments. Raises `ProtocolError`."""
        if not 1 <= rows <= len(session.slots):
            raise self._too_many(session, rows)
        if len(head) != HEADER_BYTES + rows * _ROW_BYTES:
            raise _wrong_table(rows, head)
        environment = np.frombuffer(head, ROW, rows, HEADER_BYTES)["environment"]
        if environment[-1] >= len(session.slots) or (environment[1:] <= environment[:-1]).any():
            raise _wrong_environments(session)
        slots: np.ndarray = session.slots[environment]
        return slots

    def _turn_down(self, request: Request, error: ProtocolError) -> None:
        session = request.session
        assert session is not None
        session.waiting = False
        if session.closed:
            self.forget(session)
        else:
            self._refuse(session.routing, session.token, request.sequence, error)

    def _too_many(self, session: Session, rows: int) -> ProtocolError:
        most = min(len(session.slots), self._queue.capacity)
        return ProtocolError(ErrorCode.LIMIT, f"this session's STEP takes 1 to {most} rows, not {rows}")

    def _inspect(self, batch: Batch) -> None:
        """Look at the tables of a whole batch at once, and refuse the requests whose rows cannot be."""
        if self._lockstep is not None:
            _sort(batch)
        table, slots = batch.table[: batch.rows], batch.slots[: batch.rows]
        flags, started = table["flags"], self._slots.started[slots]
        right = table["environment"] == self._slots.seat[slots]
        right &= np.isfinite(table["reward"])
        # Nothing begins or ends in most batches.
        if not batch.finals and not flags.any() and (right & started).all():
            return
        first, ended = (flags & _FIRST) != 0, (flags & _ENDED) != 0
        # Once started, a row is FIRST wherever the one before ended; a slot's first row is FIRST and ends nothing.
        right &= np.where(started, first | ~ended, first & ~ended)
        promised = np.array([request.finals for request in batch.requests])
        starts = np.array([request.start for request in batch.requests])
        counted = np.add.reduceat(ended, starts, dtype=np.int64)
        honest = (promised == counted) & np.logical_and.reduceat(right, starts)
        if not honest.all():
            refusals = {}
            for number in np.flatnonzero(~honest).tolist():
                request = batch.requests[number]
                rows = slice(request.start, request.stop)
                refusals[number] = self._blame(request, table[rows], slots[rows])
            self._leave_out(batch, refusals)

    def _blame(self, request: Request, table: np.ndarray, slots: np.ndarray) -> ProtocolError:
        """What is wrong with the rows of a request of which something is."""
        session = request.session
        assert session is not None
        ended = np.count_nonzero(table["flags"] & _ENDED)
        if (table["environment"] != self._slots.seat[slots]).any():
            return _wrong_environments(session)
        if ended != request.finals:
            return ProtocolError(
                ErrorCode.MALFORMED, f"the header says that {request.finals} rows ended, the table {ended}"
            )
        if not np.isfinite(table["reward"]).all():
            return ProtocolError(ErrorCode.MALFORMED, "a reward is not finite")
        return ProtocolError(
            ErrorCode.SEQUENCE, "an environment's first row, and every row after an end, must be marked FIRST"
        )

    def due(self) -> Reason | None:
        """Why the first batch should leave now, or None: also while the learner has to catch up."""
        if self._outbox.blocked or not self._engine.is_free or not self._may_step():
            return None
        # Whose STEP is under way can send none; sessions that have ended may be among them.
        return self._queue.reason(live=max(1, len(self._sessions) - self._requests_under_way))

    def wait_s(self) -> float | None:
        """Seconds until `due` changes by time alone."""
        if self._outbox.blocked or not self._engine.is_free or self._lockstep is not None:
            return None
        return self._queue.batcher.wait_s()

    @property
    def blocked(self) -> bool:
        """Whether actors wait for the learner."""
        return self._outbox.blocked or (self._lockstep is not None and self._lockstep.waits)

    def _may_step(self) -> bool:
        return self._lockstep is None or self._lockstep.may_step(
            self._slots.used, len(self._sessions), self.waiting_requests
        )

    def flipped(self) -> None:
        """Other weights act. In lockstep this is what the next tick waits for, or the end of every session."""
        if self._lockstep is None:
            return
        epoch, version = self._engine.epoch, self._engine.version
        if self._lockstep.flipped(epoch, version):
            self._outbox.renew(epoch)
            self._slots.begin_anew(version)
            self._dismiss(ProtocolError(ErrorCode.EXPIRED, f"all begins anew with policy version {version}"))
            for session in self._sessions:
                self._end(session)
        elif chunk := self._lockstep.gather(()):
            self._outbox.put(chunk, 0, [])

    def drain(self) -> None:
        """Answer all that waits, whatever it waits for, and take in nothing more. In lockstep it waits for others,
        and is refused."""
        if self._lockstep is not None:
            self._draining = True
            self._dismiss(leaving())
        super().drain()

    def _dismiss(self, error: ProtocolError) -> None:
        """Answer all that waits with an error, and do nothing of it."""
        while self._queue.batcher.requests:
            batch = self._queue.take()
            for request in batch.requests:
                self._fail(request, error)
            self._queue.recycle(batch)

    @span("deliver")
    def _deliver(self, batch: Batch, task: Task) -> None:
        result = self._stepped(batch, task)
        answers = Answers(MessageType.ACTIONS, result.output, REPLY, result.version)
        for request in batch.requests:
            self._answer(request, answers)
        # Stored behind the answers' back: the actors work on meanwhile.
        full = self._assembler.append(result) if self._assembler is not None else None
        if self._lockstep is not None and full is not None:
            self._lockstep.ticked()
            full = self._lockstep.gather(full)
        completed, episodes = self._count_episodes(result)
        if full is not None:
            self._keep_books()  # before the learner can get hold of them
            self._outbox.put(full, completed, episodes)
        for session in self._left:
            self.forget(session)
        self._left.clear()

    @property
    def open_steps(self) -> int:
        """Environment steps that are in no unroll yet, or in one that is kept back."""
        kept_back = 0 if self._lockstep is None else self._lockstep.kept_steps
        return kept_back if self._assembler is None else kept_back + self._assembler.open_steps

    @property
    def dropped_steps(self) -> int:
        """Environment steps that are in no unroll for good."""
        if self._assembler is None:
            return 0
        kept_back = 0 if self._lockstep is None else self._lockstep.dropped_steps
        return self._assembler.abandoned_steps + self._outbox.shed_steps + kept_back

    def _keep_books(self) -> None:
        self._ledger.note(self._stats.env_steps, self.dropped_steps, self._outbox.accepted_steps)

    def close(self) -> None:
        """Close the books, once the learner can accept nothing more."""
        self._keep_books()
        self._ledger.close()

    def _gather(self, batch: Batch) -> Inputs:
        rows = batch.rows
        slots, flags = batch.slots[:rows], batch.table["flags"][:rows]
        inputs = self._spare.pop()
        first = inputs.first[:rows]
        first[...] = (flags & _FIRST) != 0
        for name, leaf in inputs.state.items():
            leaf[:rows] = self._slots.state[name][slots]
            leaf[:rows][first] = self._initial[name]
        inputs.explore[:rows] = self._slots.explore[slots]
        if self._spec.noise:
            keys = self._slots.noise_key[slots]
            inputs.noise[:rows] = uniforms(keys, self._slots.steps[slots], self._spec.noise)
        return inputs._replace(observation=batch.observation)

    def _give_back(self, inputs: Inputs) -> None:
        self._spare.append(inputs)

    def _stepped(self, batch: Batch, task: Task) -> Steps:
        """What a computed batch is to the unrolls; its slots go on from it.

        Until then nothing has changed of them since they were gathered: each has one request under way.
        """
        rows = batch.rows
        slots, flags = batch.slots[:rows], batch.table["flags"][:rows]
        ended = np.flatnonzero(flags & _ENDED)
        final_state = {name: leaf[slots[ended]] for name, leaf in self._slots.state.items()}
        for name, values in task.state.items():
            self._slots.state[name][slots] = values
        self._slots.steps[slots] += np.uint64(1)
        self._slots.started[slots] = True
        return Steps(
            slots=slots,
            flags=flags,
            reward=batch.table["reward"][:rows],
            observation={name: leaf[:rows] for name, leaf in batch.observation.items()},
            output=task.outputs,
            state={name: leaf[:rows] for name, leaf in task.inputs.state.items()},
            ended=ended,
            final={name: leaf[: batch.finals] for name, leaf in batch.final.items()},
            final_state=final_state,
            version=task.version,
        )

    def _count_episodes(self, steps: Steps) -> tuple[int, list[list[float]]]:
        """Steps completed, and `[return, length]` of the episodes that ended, in this batch."""
        table = self._slots
        if not steps.flags.any():
            table.episode_return[steps.slots] += steps.reward
            table.episode_length[steps.slots] += 1
            self._stats.env_steps += len(steps.slots)
            return len(steps.slots), []
        begun = (steps.flags & (_FIRST | _ENDED)) == _FIRST
        completed = ~begun
        table.episode_return[steps.slots] += np.where(completed, steps.reward, 0)
        table.episode_length[steps.slots] += completed
        ended = steps.slots[steps.ended]
        returns, lengths = table.episode_return[ended].tolist(), table.episode_length[ended].tolist()
        over = steps.slots[(steps.flags & _FIRST) != 0]
        table.episode_return[over] = 0
        table.episode_length[over] = 0
        count = int(np.count_nonzero(completed))
        self._stats.env_steps += count
        self._stats.episodes += len(returns)
        self._stats.returns.extend(returns)
        return count, [[value, length] for value, length in zip(returns, lengths, strict=True)]

    def _answer(self, request: Request, answers: Answers) -> None:
        session = request.session
        assert session is not None
        session.reply = answers.cut(session.token, request.sequence, request.start, request.stop)
        session.answered = request.sequence
        session.waiting = False
        if session.closed:
            self._left.append(session)
        else:
            self._frontend.send(session.routing, session.reply)

    def _fail(self, request: Request, failure: ProtocolError) -> None:
        """Answer a step that could not be done. It has left no trace: its number can be sent again."""
        session = request.session
        assert session is not None
        session.waiting = False
        if session.closed:
            self.forget(session)
            return
        self._frontend.send_error(session.routing, session.token, request.sequence, failure)

    def forget(self, session: Session) -> None:
        """End a session: its open unrolls are dropped and its slots freed, as soon as no step of it waits."""
        if self._lockstep is not None and not session.closed:
            was_broken = self._lockstep.broken
            self._lockstep.lost(waited=session.waiting)
            if self._lockstep.broken and not was_broken:
                log.warning(_BROKEN)
        self._end(session)

    def _end(self, session: Session) -> None:
        self._sessions.close(session)
        if not session.waiting:
            if self._assembler is not None:
                self._assembler.forget(session.slots)
            self._slots.release(session.slots)


def _sort(batch: Batch) -> None:
    """Put the requests of a batch, and so its rows, in the order of their environments."""
    ordered = sorted(batch.requests, key=_first_environment)
    if ordered != batch.requests:
        batch.keep(ordered)


def _first_environment(request: Request) -> int:
    assert request.session is not None
    return request.session.first_environment


def _wrong_table(rows: int, head: bytes) -> ProtocolError:
    return ProtocolError(
        ErrorCode.MALFORMED,
        f"{rows} rows take {rows * _ROW_BYTES} bytes behind the header; got {len(head) - HEADER_BYTES}",
    )


def _wrong_environments(session: Session) -> ProtocolError:
    return ProtocolError(ErrorCode.MALFORMED, f"environments must ascend and be less than {len(session.slots)}")
