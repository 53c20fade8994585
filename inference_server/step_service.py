"""STEP: rows of environments in, actions out, and every step into its unroll, once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from corral.protocol import ENDED, HEADER_BYTES, ROW, ErrorCode, Header, MessageType, ProtocolError, RowFlags
from inference_server.answers import Answers
from inference_server.batch import Batch, Request
from inference_server.batcher import Reason
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.noise import uniforms
from inference_server.outbox import Outbox
from inference_server.service import Service
from inference_server.sessions import Admission, Session, Sessions
from inference_server.settings import BatchingSettings
from inference_server.slots import Slots
from inference_server.stats import Stats
from inference_server.unrolls import Steps, UnrollAssembler

REPLY = ("action",)
"""The output leaves that an actor is sent."""


class StepService(Service[Steps]):
    """Answers STEP: admits each step once, batches it, acts, and stores what came of it."""

    def __init__(
        self,
        settings: BatchingSettings,
        engine: Engine,
        frontend: Frontend,
        slots: Slots,
        sessions: Sessions,
        assembler: UnrollAssembler,
        outbox: Outbox,
        stats: Stats,
        clock: Callable[[], float],
        seed: int,
    ) -> None:
        super().__init__(settings, engine, frontend, stats, clock)
        self._slots = slots
        self._sessions = sessions
        self._assembler = assembler
        self._outbox = outbox
        self._seed = seed
        spec, size = self._spec, settings.max_size
        initial = engine.agent.initial_state(1)
        self._initial = {name: np.asarray(initial[name], leaf.dtype)[0] for name, leaf in spec.state.items()}
        self._state = {name: leaf.zeros(size) for name, leaf in spec.state.items()}
        self._first = np.zeros(size, bool)
        self._noise = np.zeros((size, spec.noise), np.float32)
        self._explore = np.ones((size, spec.explore), np.float32)

    def receive(self, routing: bytes, header: Header, head: bytes) -> None:
        """Take a STEP in, or answer its resend. Raises `ProtocolError`."""
        session = self._sessions.find(header.session)
        if session is None:
            raise ProtocolError(ErrorCode.EXPIRED, "no such session here: say HELLO again and reset")
        admission = self._sessions.admit(session, header.sequence)
        self._sessions.touch(session, routing)
        if admission is Admission.NEW:
            self._take_in(session, header, head)
        elif admission is Admission.ANSWERED:
            self._frontend.send(routing, session.reply)

    def _take_in(self, session: Session, header: Header, head: bytes) -> None:
        table = self._row_table(session, header, head)
        batch = self._queue.room_for(header.rows)
        start, stop = batch.rows, batch.rows + header.rows
        for name, leaf in batch.observation.items():
            self._frontend.read_into(leaf[start:stop], name)
        if header.ended:
            for name, leaf in batch.final.items():
                self._frontend.read_into(leaf[batch.finals : batch.finals + header.ended], f"final {name}")
        self._frontend.end()
        self._commit(session, header, table, batch)

    def _row_table(self, session: Session, header: Header, head: bytes) -> np.ndarray:
        """The checked row table of a STEP. Raises `ProtocolError`."""
        rows, most = header.rows, min(len(session.slots), self._queue.capacity)
        if not 1 <= rows <= most:
            raise ProtocolError(ErrorCode.LIMIT, f"this session's STEP takes 1 to {most} rows, not {rows}")
        if len(head) != HEADER_BYTES + rows * ROW.itemsize:
            raise ProtocolError(
                ErrorCode.MALFORMED,
                f"{rows} rows take {rows * ROW.itemsize} bytes behind the header; got {len(head) - HEADER_BYTES}",
            )
        table = np.frombuffer(head, ROW, rows, HEADER_BYTES)
        environment = table["environment"]
        if environment[-1] >= len(session.slots) or (environment[1:] <= environment[:-1]).any():
            raise ProtocolError(
                ErrorCode.MALFORMED, f"environments must ascend and be less than {len(session.slots)}"
            )
        ended = (table["flags"] & ENDED) != 0
        if np.count_nonzero(ended) != header.ended:
            raise ProtocolError(
                ErrorCode.MALFORMED,
                f"the header says that {header.ended} rows ended, the table {np.count_nonzero(ended)}",
            )
        first = (table["flags"] & RowFlags.FIRST) != 0
        started = self._slots.started[session.slots[environment]]
        if (ended & ~(first & started)).any() or (~started & ~first).any():
            raise ProtocolError(
                ErrorCode.SEQUENCE, "an environment's first row, and every row after an end, must be marked FIRST"
            )
        if not np.isfinite(table["reward"]).all():
            raise ProtocolError(ErrorCode.MALFORMED, "a reward is not finite")
        return table

    def _commit(self, session: Session, header: Header, table: np.ndarray, batch: Batch) -> None:
        start, stop = batch.rows, batch.rows + header.rows
        slots = session.slots[table["environment"]]
        batch.slots[start:stop] = slots
        batch.reward[start:stop] = table["reward"]
        batch.flags[start:stop] = table["flags"]
        if header.ended:
            ended = start + np.flatnonzero(table["flags"] & ENDED)
            batch.ended[batch.finals : batch.finals + header.ended] = ended
        self._slots.started[slots] = True
        session.waiting = True
        request = Request(session, b"", header.sequence, start, stop, self._clock())
        self._queue.commit(batch, request, header.ended)

    def due(self) -> Reason | None:
        """Why the first batch should leave now, or None: also while the learner has to catch up."""
        if self._outbox.blocked:
            return None
        return self._queue.reason(live=len(self._sessions))

    def wait_s(self) -> float | None:
        """Seconds until `due` changes by time alone."""
        return None if self._outbox.blocked else self._queue.batcher.wait_s()

    def _deliver(self, batch: Batch, result: Steps) -> None:
        full = self._assembler.append(result)
        completed, episodes = self._count_episodes(result)
        self._outbox.put(full, completed, episodes)
        answers = Answers(MessageType.ACTIONS, result.output, REPLY, result.version)
        for request in batch.requests:
            self._answer(request, answers)

    def _act(self, batch: Batch) -> Steps:
        rows = batch.rows
        slots, ended = batch.slots[:rows], batch.ended[: batch.finals]
        first = (batch.flags[:rows] & RowFlags.FIRST) != 0
        self._first[:rows] = first
        final_state = {name: leaf[slots[ended]] for name, leaf in self._slots.state.items()}
        for name, leaf in self._state.items():
            leaf[:rows] = self._slots.state[name][slots]
            leaf[:rows][first] = self._initial[name]
        if self._spec.noise:
            keys = self._slots.environment[slots], self._slots.steps[slots]
            self._noise[:rows] = uniforms(self._seed, *keys, self._spec.noise)
        output, state = self._engine.act(
            rows, batch.observation, self._state, self._first, self._noise, self._explore
        )
        for name, values in state.items():
            self._slots.state[name][slots] = values
        self._slots.steps[slots] += np.uint64(1)
        return Steps(
            slots=slots,
            flags=batch.flags[:rows],
            reward=batch.reward[:rows],
            observation={name: leaf[:rows] for name, leaf in batch.observation.items()},
            output=output,
            state={name: leaf[:rows] for name, leaf in self._state.items()},
            ended=ended,
            final={name: leaf[: batch.finals] for name, leaf in batch.final.items()},
            final_state=final_state,
            version=self._engine.version,
        )

    def _count_episodes(self, steps: Steps) -> tuple[int, list[list[float]]]:
        """Steps completed, and `[return, length]` of the episodes that ended, in this batch."""
        table = self._slots
        begun = (steps.flags & (RowFlags.FIRST | ENDED)) == RowFlags.FIRST
        completed = ~begun
        table.episode_return[steps.slots] += np.where(completed, steps.reward, 0)
        table.episode_length[steps.slots] += completed
        ended = steps.slots[steps.ended]
        returns, lengths = table.episode_return[ended].tolist(), table.episode_length[ended].tolist()
        over = steps.slots[(steps.flags & RowFlags.FIRST) != 0]
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
            self.forget(session)
            return
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
        self._sessions.close(session)
        if not session.waiting:
            self._assembler.forget(session.slots)
            self._slots.release(session.slots)
