"""The lines that take messages, each with its valid ones, and what has to be answered to whatever is sent there.

Every answer repeats the session and the sequence of its request. So a handful of inputs can be sent at once, and
every answer told apart; what may stay unanswered is known by type.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from corral.protocol import (
    ROW,
    Change,
    Command,
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    ProtocolError,
    Question,
    RowFlags,
    UnrollManifest,
    WeightManifest,
    Welcome,
    Work,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.tensors import checksum
from corral.protocol.weights import pack_weights
from tests.fuzz.learner import LENGTH, PARTS
from tests.fuzz.messages import Chance, Draft, Frames, damaged, in_words, readable
from tests.fuzz.stage import LEASE_S, PATIENCE_S, Peer, Stage, policy
from tests.inference_server.hostile_peers_server import ACTION, ACTIONS, MAX_ROWS, OBSERVATION, WIDTH

AT_ONCE = 32
"""Inputs that are sent before any answer is read."""
REMEMBERED = 200
"""Inputs that may come again, late and in another order."""
ROW_BYTES = WIDTH * 4
Key = tuple[int, int]
_QUIET_ON_ACTORS = (MessageType.BYE, MessageType.HEARTBEAT)
_SESSIONLESS = (MessageType.INFER,)
_QUIET_ON_WEIGHTS = (MessageType.HELLO, MessageType.TAKEN, MessageType.ERROR)
_STRIKES = (ErrorCode.MALFORMED, ErrorCode.SPEC, ErrorCode.LIMIT)


class Line(Protocol):
    """One line to send bad input to."""

    name: str

    def play(self, chance: Chance) -> int:
        """Send some inputs and look at all that is answered; how many. Raises `AssertionError`."""
        ...


def key_of(frames: Frames, sessionless: Collection[int] = ()) -> Key:
    """What the answer to this message repeats: 0 and 0 where its header cannot be read."""
    read = readable(frames)
    if read is None:
        return (0, 0)
    return (0 if read[0] in sessionless else read[1], read[2])


class Ledger:
    """Which inputs have been answered.

    Args:
      inputs: what was sent.
      quiet: types that may stay without an answer.
      sessionless: types whose answers have session 0, unless they are refused.
    """

    def __init__(self, inputs: list[Frames], quiet: Collection[int], sessionless: Collection[int] = ()) -> None:
        self._open: dict[Key, list[Frames]] = {}
        # An answer is taken for that of the input which has to have one, where two have the same numbers.
        for frames in sorted(inputs, key=lambda frames: (readable(frames) or (-1,))[0] not in quiet):
            self._open.setdefault(key_of(frames, sessionless), []).append(frames)

    def answered(self, key: Key, answer: str) -> None:
        """An answer has come. Raises `AssertionError` where nobody has asked."""
        waiting = self._open.get(key) or self._open.get((0, key[1]))
        assert waiting, f"{answer} to {key} answers nothing that was sent"
        waiting.pop()

    def unanswered(self) -> list[Frames]:
        """The inputs without an answer."""
        return [frames for waiting in self._open.values() for frames in waiting]


def failure_of(frame: bytes) -> Failure:
    """The body of an ERROR, which is never a defect of the other side."""
    failure = unpack_control(Failure, frame)
    assert failure.code in ErrorCode.__members__
    assert failure.code != ErrorCode.INTERNAL, failure.text
    assert failure.text.isprintable()
    assert failure.text
    return failure


# --- The server's actors' line ------------------------------------------------------------------------------------


@dataclass
class Seat:
    """A session of two environments that the fuzzer plays in."""

    token: int
    answered: int = 0
    strikes: int = 0
    parted: bool = False  # whether it may have been ended: by BYE, in our own name


class ActorsLine:
    """HELLO, STEP, INFER, HEARTBEAT, BYE, STATUS, SET and COMMAND, and everything else, to a server."""

    name = "actors"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._peer = Peer(stage.context, stage.server)
        self._seats: list[Seat] = []
        self._played_at = 0.0
        self._late: set[Key] = set()  # steps that had no answer yet when all else had
        self._fences = itertools.count(1 << 60)
        self._numbers = itertools.count(1 << 40, 1000)  # so that one changed a little is nobody else's
        self._past: deque[Frames] = deque(maxlen=REMEMBERED)

    def play(self, chance: Chance) -> int:
        self._take_seats()
        inputs = [self._input(chance, seat) for seat in self._seats]
        if len(self._past) == REMEMBERED and chance.number(0, 7) == 0:
            inputs = chance.random.sample(list(self._past), AT_ONCE)
        self._past += inputs
        self._judge(inputs)
        self._go_on()
        self._played_at = time.monotonic()
        return len(inputs)

    def _take_seats(self) -> None:
        """Fill the seats that are left, and end the sessions that one more strike, or their lease, would end."""
        rested = time.monotonic() - self._played_at > LEASE_S / 3
        leaving = [seat for seat in self._seats if seat.strikes >= 2 or rested]
        for seat in leaving:
            self._peer.send([pack_header(MessageType.BYE, seat.token, 0)])
            self._seats.remove(seat)
        nonces = {secrets.randbits(64) for _ in range(AT_ONCE - len(self._seats))}
        for nonce in nonces:
            self._peer.send([pack_control(MessageType.HELLO, nonce, 0, _actor())])
        for _ in range(len(nonces)):
            frame = self._peer.receive()[0]
            assert unpack_header(frame).type == MessageType.WELCOME, in_words([frame])
            self._seats.append(Seat(unpack_control(Welcome, frame).session))

    def _input(self, chance: Chance, seat: Seat) -> Frames:
        kind = chance.of(["step"] * 8 + ["infer"] * 3 + ["hello"] * 3 + ["set"] * 2 + ["word"] * 2 + ["short"])
        number = next(self._numbers)
        if kind == "step":
            draft = _step(seat, chance.number(0, 3) if seat.answered else 0)
        elif kind == "infer":
            rows = chance.number(1, MAX_ROWS)
            draft = Draft(MessageType.INFER, 0, number, rows, leaves=[_rows(rows).tobytes()])
        elif kind == "hello":
            body = chance.of([_ACTOR, _CLIENT])
            draft = Draft(MessageType.HELLO, secrets.randbits(64), number, body=body)
        elif kind == "set":
            key = chance.of(["timeout_us", "max_size", "buckets"])
            value = {"timeout_us": 0, "max_size": MAX_ROWS, "buckets": []}[key]
            draft = Draft(MessageType.SET, 0, number, body={"settings": {f"server.batching.{key}": value}})
        elif kind == "word":
            type_, body = chance.of(_WORDS)
            draft = Draft(type_, seat.token if type_ == MessageType.HEARTBEAT else 0, number, body=body)
        else:
            type_ = chance.of([MessageType.HEARTBEAT, MessageType.BYE, MessageType.STATUS])
            draft = Draft(type_, seat.token, number)
        frames = damaged(chance, draft)
        # A batch timeout is a right message that everybody would notice, and answers would change their order.
        return [pack_header(MessageType.STATUS, 0, number)] if _makes_all_wait(frames) else frames

    def _judge(self, inputs: list[Frames]) -> None:
        for frames in inputs:
            self._peer.send(frames)
        ledger = Ledger(inputs, _QUIET_ON_ACTORS, _SESSIONLESS)
        tokens = {seat.token: seat for seat in self._seats}
        fence = next(self._fences)
        self._peer.send([pack_header(MessageType.INFER, 0, fence, 1), _rows(1).tobytes()])
        while True:
            (frame,) = self._peer.receive()
            header = unpack_header(frame)
            if header.type == MessageType.OUTPUTS and header.sequence == fence:
                break
            key = (header.session, header.sequence)
            seat = tokens.get(header.session)
            match header.type:
                case MessageType.ERROR:
                    failure = failure_of(frame)
                    if seat is not None and failure.code in _STRIKES:
                        seat.strikes += 1
                    ledger.answered(key, f"{failure.code} ({failure.text})")
                case MessageType.ACTIONS:
                    ledger.answered(key, "ACTIONS")
                    assert seat is not None
                    if header.sequence == seat.answered + 1:
                        seat.answered += 1
                        _check_step(inputs, key)
                case MessageType.OUTPUTS:
                    ledger.answered(key, "OUTPUTS")
                    _check_infer(inputs, key)
                case MessageType.WELCOME | MessageType.REPORT:
                    ledger.answered(key, MessageType(header.type).name)
                case _:
                    raise AssertionError(f"an answer of type {header.type}")
        for frames in inputs:
            read = readable(frames)
            if read and read[0] == MessageType.BYE and read[1] in tokens:
                tokens[read[1]].parted = True
        for frames in ledger.unanswered():
            self._check_silence(frames, tokens)
            self._late.add(key_of(frames, _SESSIONLESS))

    def _check_silence(self, frames: Frames, tokens: dict[int, Seat]) -> None:
        read = readable(frames)
        assert read is not None, f"no answer to {in_words(frames)}"
        # A step that waits when it comes again is answered once.
        assert read[0] in _QUIET_ON_ACTORS or (read[0] == MessageType.STEP and read[1] in tokens), (
            f"no answer to {in_words(frames)}"
        )

    def _go_on(self) -> None:
        """Each session's next step is done: what was refused has left no trace."""
        late, self._late = self._late, set()
        peers: dict[int, Seat] = {}
        for seat in self._seats:
            peers[seat.token] = seat
            # FIRST at any time: of what was accepted just now some rows may have begun nothing.
            self._peer.send(_step(seat, 0, always=RowFlags.FIRST).frames())
        gone = []
        while peers:
            (frame,) = self._peer.receive()
            header = unpack_header(frame)
            seat = peers[header.session]
            if header.type == MessageType.ERROR and (header.session, header.sequence) in late:
                failure = failure_of(frame)
                if failure.code != ErrorCode.EXPIRED:
                    # A step that waited for the learner until now, and that ours was taken for a resend of.
                    late.remove((header.session, header.sequence))
                    seat.strikes += failure.code in _STRIKES
                    self._peer.send(_step(seat, 0, always=RowFlags.FIRST).frames())
                    continue
            del peers[header.session]
            if header.type == MessageType.ACTIONS:
                assert header.sequence == seat.answered + 1
                actions = np.frombuffer(frame, np.int64, 2, 32)
                assert actions.tolist() == [number % ACTIONS for number in (seat.answered, seat.answered + 1)]
                seat.answered += 1
                continue
            failure = failure_of(frame)
            assert failure.code == ErrorCode.EXPIRED, f"{failure.code}: {failure.text}"
            assert seat.parted or seat.strikes >= 3, "a session ended for no reason"
            gone.append(seat)
        self._seats = [seat for seat in self._seats if seat not in gone and not seat.parted]


def _actor() -> Hello:
    return Hello(
        "actor", environments=2, observation=spec_to_wire(OBSERVATION), action=spec_to_wire({"action": ACTION})
    )


_WORDS = [
    (MessageType.HEARTBEAT, asdict(Work(1.5, 2.5, 100, 200))),
    (MessageType.STATUS, asdict(Question(5))),
    (MessageType.COMMAND, asdict(Command("wash"))),  # no right one: it would drain
]
_ACTOR, _CLIENT = asdict(_actor()), asdict(Hello("client"))


def _rows(count: int, first: int = 0) -> np.ndarray:
    """Observations that ask for the actions `first`, `first + 1` and so on."""
    rows = np.zeros((count, WIDTH), np.float32)
    rows[np.arange(count), (first + np.arange(count)) % ACTIONS] = 1
    return rows


def _step(seat: Seat, ended: int, always: int = 0) -> Draft:
    """The next step of a session; in the rows that `ended` has bits for an episode has ended."""
    flags = [
        RowFlags.FIRST if not seat.answered else RowFlags.FIRST | RowFlags.TERMINATED if ended & bit else always
        for bit in (1, 2)
    ]
    table = np.array([(0.5, place, flag) for place, flag in enumerate(flags)], ROW)
    count = ended.bit_count() if seat.answered else 0
    leaves = [_rows(2, seat.answered).tobytes()] + ([_rows(count).tobytes()] if count else [])
    return Draft(MessageType.STEP, seat.token, seat.answered + 1, 2, count, table=table, leaves=leaves)


def _check_step(inputs: list[Frames], key: Key) -> None:
    """An accepted step has as many bytes as its header says, and numbers that are finite."""
    asked = [frames for frames in inputs if key_of(frames) == key]
    assert any(_is_sound_step(frames) for frames in asked), in_words(asked[0])


def _is_sound_step(frames: Frames) -> bool:
    rows, ended = np.frombuffer(frames[0], np.uint16, 2, 4).tolist()
    table = np.frombuffer(frames[0], ROW, offset=24) if len(frames[0]) == 24 + 8 * rows else None
    sizes = [rows * ROW_BYTES] + ([ended * ROW_BYTES] if ended else [])
    return (
        table is not None
        and 1 <= rows <= 2
        and [len(frame) for frame in frames[1:]] == sizes
        and bool(np.isfinite(table["reward"]).all())
        and all(np.isfinite(np.frombuffer(frame, np.float32)).all() for frame in frames[1:])
        and int(np.count_nonzero(table["flags"] & 6)) == ended
    )


def _check_infer(inputs: list[Frames], key: Key) -> None:
    """An accepted INFER has as many bytes as its header says, and numbers that are finite."""
    asked = [
        frames
        for frames in inputs
        if key_of(frames, _SESSIONLESS) == key and frames[0][3:4] == bytes([MessageType.INFER])
    ]
    assert any(_is_sound_infer(frames) for frames in asked), in_words(asked[0])


def _is_sound_infer(frames: Frames) -> bool:
    rows, ended = np.frombuffer(frames[0], np.uint16, 2, 4).tolist()
    return (
        1 <= rows <= MAX_ROWS
        and ended == 0
        and [len(frame) for frame in frames] == [24, rows * ROW_BYTES]
        and bool(np.isfinite(np.frombuffer(frames[1], np.float32)).all())
    )


def _makes_all_wait(frames: Frames) -> bool:
    """Whether it is a right SET of a timeout."""
    if readable(frames) is None or frames[0][3] != MessageType.SET:
        return False
    try:
        timeout = unpack_control(Change, frames[0]).settings.get("server.batching.timeout_us")
    except ProtocolError:
        return False
    return timeout == "auto" or (type(timeout) is int and 0 < timeout <= 10_000_000)


# --- The learner's two lines --------------------------------------------------------------------------------------


class UnrollsLine:
    """HELLO, UNROLLS and STATUS to a learner, each input in the name of a server that has just come."""

    name = "unrolls"

    def __init__(self, stage: Stage) -> None:
        self._peer = Peer(stage.context, stage.unrolls)
        self._fences = itertools.count(1 << 60)
        self._numbers = itertools.count(2)
        self._past: deque[Frames] = deque(maxlen=REMEMBERED)

    def play(self, chance: Chance) -> int:
        servers = [secrets.randbits(64) for _ in range(AT_ONCE)]
        first = {identity: chance.of([1, 1, 2, 1000, 2**62]) for identity in servers}
        for identity in servers:
            self._peer.send([_server(identity, first[identity])])
        for _ in servers:
            assert unpack_header(self._peer.receive()[0]).type == MessageType.WELCOME
        inputs = [self._input(chance, identity, first[identity]) for identity in servers]
        if len(self._past) == REMEMBERED and chance.number(0, 7) == 0:
            inputs = chance.random.sample(list(self._past), AT_ONCE)
        self._past += inputs
        self._judge(inputs, first)
        return len(inputs)

    def _input(self, chance: Chance, identity: int, sequence: int) -> Frames:
        kind = chance.of(["unrolls"] * 6 + ["hello"] * 2 + ["status"])
        if kind == "unrolls":
            draft = _parcel(identity, sequence, chance.number(1, 3))
        elif kind == "hello":
            draft = Draft(MessageType.HELLO, identity, sequence, body=_SERVER)
        else:
            draft = Draft(MessageType.STATUS, identity, next(self._numbers))
        return damaged(chance, draft)

    def _judge(self, inputs: list[Frames], first: dict[int, int]) -> None:
        for frames in inputs:
            self._peer.send(frames)
        ledger = Ledger(inputs, (MessageType.UNROLLS,))
        fence = next(self._fences)
        self._peer.send([pack_header(MessageType.STATUS, 7, fence)])
        accepted: Counter[int] = Counter()
        fenced = False
        # The next parcel of each server that sent one, and gets an ACCEPTED or an ERROR for it.
        owed = {
            read[1]
            for frames in inputs
            if (read := readable(frames)) and read[0] == MessageType.UNROLLS and first.get(read[1]) == read[2]
        }
        while not fenced or owed:
            (frame,) = self._peer.receive()
            header = unpack_header(frame)
            key = (header.session, header.sequence)
            if header.type == MessageType.REPORT and key == (7, fence):
                fenced = True
            elif header.type == MessageType.ACCEPTED:
                accepted[header.session] += 1
                if header.sequence >= first.get(header.session, 0):
                    owed.discard(header.session)
            elif header.type == MessageType.ERROR:
                failure = failure_of(frame)
                ledger.answered(key, f"{failure.code} ({failure.text})")
                if first.get(header.session) == header.sequence:
                    owed.discard(header.session)
            else:
                assert header.type in (MessageType.WELCOME, MessageType.REPORT), in_words([frame])
                ledger.answered(key, MessageType(header.type).name)
        for frames in ledger.unanswered():
            read = readable(frames)
            assert read is not None, f"no answer to {in_words(frames)}"
            assert read[0] == MessageType.UNROLLS, f"no answer to {in_words(frames)}"
            if accepted[read[1]] and first.get(read[1]) == read[2]:
                assert _is_sound_parcel(frames), in_words(frames)


def _hello() -> Hello:
    parts: dict[str, Any] = {part: spec_to_wire(leaves) for part, leaves in PARTS.items()}
    return Hello("server", observation=parts | {"length": LENGTH})


_SERVER, _HOLDER = asdict(_hello()), asdict(Hello("server", epoch=9))
_REFUSAL = asdict(Failure("WEIGHTS", "I will not have them"))


def _server(identity: int, sequence: int) -> bytes:
    return pack_control(MessageType.HELLO, identity, sequence, _hello())


def _parcel(identity: int, sequence: int, unrolls: int) -> Draft:
    leaves = [np.zeros((LENGTH + 1, unrolls, *leaf.shape), leaf.dtype) for leaf in PARTS["time"].values()]
    leaves += [leaf.zeros(unrolls) for leaf in PARTS["state"].values()]
    body = {"unrolls": unrolls, "steps": 3, "episodes": [[1.5, 3]], "held": 3, "held_before": 0}
    return Draft(MessageType.UNROLLS, identity, sequence, body=body, leaves=[leaf.tobytes() for leaf in leaves])


def _is_sound_parcel(frames: Frames) -> bool:
    manifest = unpack_control(UnrollManifest, frames[0])
    sizes = [leaf.nbytes * (LENGTH + 1) * manifest.unrolls for leaf in PARTS["time"].values()]
    sizes += [leaf.nbytes * manifest.unrolls for leaf in PARTS["state"].values()]
    reward = np.frombuffer(frames[1 + list(PARTS["time"]).index("reward")], np.float32)
    return [len(frame) for frame in frames[1:]] == sizes and bool(np.isfinite(reward).all())


class WeightsLine:
    """HELLO, TAKEN and ERROR to a learner."""

    name = "weights"

    def __init__(self, stage: Stage) -> None:
        self._peer = Peer(stage.context, stage.weights)
        self._fences = itertools.count(1 << 60)
        self._numbers = itertools.count(1, 1000)
        self._past: deque[Frames] = deque(maxlen=REMEMBERED)

    def play(self, chance: Chance) -> int:
        inputs = [self._input(chance) for _ in range(AT_ONCE)]
        if len(self._past) == REMEMBERED and chance.number(0, 7) == 0:
            inputs = chance.random.sample(list(self._past), AT_ONCE)
        self._past += inputs
        for frames in inputs:
            # One by one: no more than a few answers wait for anybody on this line.
            self._judge(frames)
        return len(inputs)

    def _judge(self, frames: Frames) -> None:
        self._peer.send(frames)
        ledger = Ledger([frames], _QUIET_ON_WEIGHTS)
        fence = next(self._fences)
        deadline = time.monotonic() + PATIENCE_S
        self._peer.send([pack_header(MessageType.SET, 7, fence)])
        while True:
            assert time.monotonic() < deadline, f"no answer behind {in_words(frames)}"
            frame = self._peer.receive()[0]
            header = unpack_header(frame)
            if header.type == MessageType.WEIGHTS:
                continue  # whoever greets gets them
            failure = failure_of(frame)
            if (header.session, header.sequence) == (7, fence):
                assert failure.code == ErrorCode.UNKNOWN_TYPE
                break
            ledger.answered((header.session, header.sequence), f"{failure.code} ({failure.text})")
        for frames in ledger.unanswered():
            read = readable(frames)
            assert read is not None, f"no answer to {in_words(frames)}"
            assert read[0] in _QUIET_ON_WEIGHTS, f"no answer to {in_words(frames)}"
            if read[0] == MessageType.HELLO:
                unpack_control(Hello, frames[0]).check_version()

    def _input(self, chance: Chance) -> Frames:
        kind = chance.of(["hello", "hello", "taken", "error"])
        identity = secrets.randbits(64)
        if kind == "hello":
            draft = Draft(MessageType.HELLO, identity, chance.number(0, 3), body=_HOLDER)
        elif kind == "taken":
            draft = Draft(MessageType.TAKEN, 7, next(self._numbers))
        else:
            draft = Draft(MessageType.ERROR, 7, next(self._numbers), body=_REFUSAL)
        return damaged(chance, draft)


# --- The server's two lines to its learner ------------------------------------------------------------------------


class LearnersLines:
    """What a learner says to its server: WEIGHTS on one line, WELCOME, ACCEPTED and ERROR on the other."""

    name = "learner's"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._teacher = stage.teacher
        self._peer = Peer(stage.context, stage.server)
        self._numbers = itertools.count(1)
        self.refused = 0

    def play(self, chance: Chance) -> int:
        for _ in range(AT_ONCE // 2):
            self._push(chance)
            self._teacher.say("unrolls", self._word(chance))
        if chance.number(0, 7) == 0:
            epoch, version = self._teacher.held
            number = float(next(self._numbers) % 1000)
            self._teacher.give(policy(self._stage.names, number), epoch, version + 1, number)
        self._teacher.reconcile()
        self._check_served()
        return 2 * (AT_ONCE // 2)

    def _push(self, chance: Chance) -> None:
        epoch, version = self._teacher.held
        weights = policy(self._stage.names, float(next(self._numbers) % 1000))
        frames = [bytes(frame) for frame in pack_weights(epoch, version + 1, weights)]
        body = asdict(unpack_control(WeightManifest, frames[0]))
        draft = Draft(MessageType.WEIGHTS, epoch, version + 1, body=body, leaves=frames[1:])
        stale = chance.number(0, 9)
        if stale == 0:
            draft.sequence = chance.of([0, version - 1, 2**63, 2**64 - 1])
        elif stale == 1:
            draft.session = chance.of([0, epoch - 1, 2**63, 2**64 - 1])
        damage = damaged(chance, draft, seal=True)
        read = readable(damage)
        if read is None or read[0] != MessageType.WEIGHTS:
            return self._teacher.say("weights", damage)  # answers a greeting that was never sent, or nothing
        offered = read[1:]
        if offered > self._teacher.held and max(offered) < 2**63 and offered != (epoch, version + 1):
            return None  # right, and so far ahead that nothing could follow it
        if _are_others(damage[1:], frames[1:]):
            return None  # right, and those who behave would be answered by another policy than they expect
        header, frame = self._teacher.push(damage)
        assert (header.session, header.sequence) == offered
        if header.type == MessageType.TAKEN:
            if offered != self._teacher.held:
                self._learn(damage, offered)
            return None
        assert header.type == MessageType.ERROR
        failure = failure_of(frame)
        assert failure.code == ErrorCode.WEIGHTS, failure.code
        self.refused += 1
        return None

    def _learn(self, frames: Frames, offered: Key) -> None:
        """The server has taken these: they have to be right in every way."""
        body = unpack_control(WeightManifest, frames[0])
        assert body.checksum == checksum(frames[1:]), in_words(frames)
        assert body.tensors.keys() == self._stage.names.keys(), in_words(frames)
        assert len(body.tensors) == len(frames) - 1, in_words(frames)
        arrays = {}
        for (name, wire), frame in zip(body.tensors.items(), frames[1:], strict=True):
            own = self._stage.names[name]
            assert (wire[0], wire[1], len(frame)) == (list(own.shape), str(own.dtype), own.nbytes), in_words(frames)
            arrays[name] = np.frombuffer(frame, own.dtype)
            assert np.isfinite(arrays[name]).all(), in_words(frames)
        self._teacher.held = offered
        # Some of it may be another's: those who behave need good ones again at once.
        number = float(next(self._numbers) % 1000)
        self._teacher.give(policy(self._stage.names, number), offered[0], offered[1] + 1, number)

    def _word(self, chance: Chance) -> Frames:
        identity, cursor = self._teacher.identity, self._teacher.cursor
        kind = chance.of(["welcome", "accepted", "error"])
        if kind == "welcome":
            welcome = Welcome(1, 0, 0, {}, {}, 0, 0.0, 0, cursor=cursor, window=chance.of([1, 8, 64]))
            draft = Draft(MessageType.WELCOME, identity, cursor + 1, body=asdict(welcome))
        elif kind == "accepted":
            draft = Draft(MessageType.ACCEPTED, identity, cursor)
        else:
            code = chance.of(["EXPIRED", "MALFORMED", "NEW"])
            draft = Draft(MessageType.ERROR, identity, cursor, body=asdict(Failure(code, "who are you?")))
        return damaged(chance, draft)

    def _check_served(self) -> None:
        """The last good version acts: its number is in every answer."""
        number = next(self._numbers)
        self._peer.send([pack_header(MessageType.INFER, 0, number, 1), _rows(1).tobytes()])
        (frame,) = self._peer.receive()
        header = unpack_header(frame)
        assert (header.type, header.sequence) == (MessageType.OUTPUTS, number)
        version = int(np.frombuffer(frame, np.uint64, 1, 24)[0])
        value = float(np.frombuffer(frame[-4:], np.float32)[0])
        assert version == self._teacher.held[1], f"version {version} acts, not {self._teacher.held}"
        assert value == self._teacher.taken[self._teacher.held], f"{value} is not of version {version}"


def _are_others(leaves: Frames, expected: Frames) -> bool:
    """Whether these are the tensors of another good policy."""
    fits = [len(leaf) for leaf in leaves] == [len(leaf) for leaf in expected]
    return (
        fits and leaves != expected and all(np.isfinite(np.frombuffer(leaf, np.float32)).all() for leaf in leaves)
    )


def lines(stage: Stage) -> list[Line]:
    """All of them."""
    return [ActorsLine(stage), UnrollsLine(stage), WeightsLine(stage), LearnersLines(stage)]
