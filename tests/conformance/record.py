"""Writes the recorded exchanges: `python -m tests.conformance.record`; a test says when that is due."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from corral.protocol import ErrorCode, Hello, MessageType, Question, Report, Work
from tests.conformance.counter import ACTION, OBSERVATION, Counter, observe
from tests.conformance.messages import (
    NEXT_NONCE,
    NEXT_TOKEN,
    NONCE,
    OUTPUT,
    TOKEN,
    Said,
    actions,
    control,
    error,
    granted,
    hello,
    infer,
    outputs,
    step,
    welcome,
)

FOLDER = Path(__file__).parent / "exchanges"


def handshake() -> list[Said]:
    client = Hello("client")
    greeted = control("client", MessageType.HELLO, 0, 1, client)
    answered = control("server", MessageType.WELCOME, 0, 1, granted(0, OUTPUT))
    unfit = "environments differ: the server's is CartPole-v1, {observation: float32[4]}; this actor's is Counter"
    not_ready = error(NONCE, 1, ErrorCode.NOT_READY, "this server has no weights yet")
    busy = error(NONCE, 2, ErrorCode.BUSY, "2 environments asked for, 1 of 64 slots free")
    return [
        exchange("an actor joins", "HELLO", "its token travels in the body", hello(), welcome()),
        exchange("a client joins", "HELLO", "it has no session", greeted, answered),
        exchange(
            "not ready, then busy",
            "HELLO",
            "the nonce stays; the sequence may",
            *(hello(), not_ready, hello(2), busy, hello(3), welcome(3)),
        ),
        exchange(
            "another environment",
            "HELLO",
            "it never fits: the actor gives up",
            *(hello(), error(NONCE, 1, ErrorCode.SPEC, unfit)),
        ),
    ]


def steps() -> list[Said]:
    counters = [Counter(0), Counter(1)]
    messages: list[Said] = []
    chosen: Sequence[int | None] = (None, None)
    found = []
    for sequence in range(1, 9):
        rows = [counter.row(action) for counter, action in zip(counters, chosen, strict=True)]
        chosen = [sequence % 5, (sequence + 1) % 5]
        messages = [step(rows, sequence), actions([int(action or 0) for action in chosen], sequence)]
        if sequence in _WHY:
            found.append(exchange(_WHY[sequence][0], "Steps", _WHY[sequence][1], *messages))
    alone = step([counters[1].row(chosen[1])], 9)
    why = "any subset of the environments may send a row"
    return [*found, exchange("one environment alone", "Steps", why, alone, actions([2], 9))]


_WHY = {
    1: ("the first rows of a session", "every row is FIRST and earned nothing"),
    2: ("within an episode", "no flags; the reward is of the step that led here"),
    4: ("an episode terminates", "its final observation and the next episode's first one travel in one row"),
    5: ("another one does", "the second environment ends: its final observation is the only one"),
    7: ("an episode is truncated", "likewise, under another flag"),
}


def errors() -> list[Said]:
    rows = [Counter(0).row(None), Counter(1).row(None)]
    late = "this server does not know session fedcba9876543210: join again"
    return [
        exchange(
            "expired",
            "Sessions",
            "a new nonce, a new token, sequences from 1, every environment reset",
            *(step(rows, 5), error(TOKEN, 5, ErrorCode.EXPIRED, late)),
            *(hello(1, NEXT_NONCE), welcome(1, NEXT_NONCE, NEXT_TOKEN), step(rows, 1, NEXT_TOKEN)),
        ),
        exchange(
            "out of order",
            "Sessions",
            "nothing advances",
            *(step(rows, 7), error(TOKEN, 7, ErrorCode.SEQUENCE, "step 7 came where 5 is the next")),
        ),
        exchange(
            "a header that cannot be read",
            "Frames",
            "the answer has session 0 and sequence 0",
            error(0, 0, ErrorCode.MALFORMED, "a message begins with 24 header bytes; got 3"),
        ),
    ]


def resends() -> list[Said]:
    rows = [Counter(0).row(None), Counter(1).row(None)]
    return [
        exchange(
            "a greeting that was lost, or its answer",
            "Sessions",
            "one nonce, one session",
            *(hello(), hello(), welcome(), welcome()),
        ),
        exchange(
            "a step whose answer was lost",
            "Sessions",
            "the same bytes again, both ways; the environments were stepped once",
            *(step(rows, 1), actions([3, 1], 1), step(rows, 1), actions([3, 1], 1)),
        ),
    ]


def drain() -> list[Said]:
    rows = [Counter(0).row(None), Counter(1).row(None)]
    leaving = "this server is about to leave"
    report = Report({"role": "server", "ready": False})
    return [
        exchange(
            "a step, and the greeting that follows",
            "Sessions",
            "as EXPIRED for a STEP, as NOT_READY for a HELLO",
            *(step(rows, 2), error(TOKEN, 2, ErrorCode.DRAINING, leaving)),
            *(hello(1, NEXT_NONCE), error(NEXT_NONCE, 1, ErrorCode.DRAINING, leaving)),
        ),
        exchange(
            "status",
            "Sessions",
            "is answered to the end, and not ready",
            control("operator", MessageType.STATUS, 0, 4),
            control("server", MessageType.REPORT, 0, 4, report),
        ),
    ]


def inferring() -> list[Said]:
    rows = [observe(row, row + 1, 1) for row in range(3)]
    full = "64 rows wait already"
    return [
        exchange("three rows", "Asking", "no session", infer(rows, 2), outputs([0.5, -1.25, 3], [4, 0, 1], 2)),
        exchange(
            "busy",
            "Asking",
            "asked again later, under a new sequence",
            *(infer(rows, 3), error(0, 3, ErrorCode.BUSY, full), infer(rows, 4), outputs([0, 0, 0], [1, 1, 1], 4)),
        ),
    ]


def heartbeats() -> list[Said]:
    work = Work(environment_s=12.5, wait_s=3, requests=100, steps=200)
    beat = control("actor", MessageType.HEARTBEAT, TOKEN, 0, work)
    expired = error(TOKEN, 0, ErrorCode.EXPIRED, "this server does not know session fedcba9876543210: join again")
    bare = control("actor", MessageType.HEARTBEAT, TOKEN, 0)
    return [
        exchange("with figures", "Sessions", "not answered", beat),
        exchange("without", "Control messages", "the header alone will do", bare),
        exchange("an unknown token", "Sessions", "the one answer that there is", bare, expired),
    ]


def goodbye() -> list[Said]:
    bye = control("actor", MessageType.BYE, TOKEN, 0)
    return [exchange("an actor leaves", "Sessions", "the header alone; not answered", bye)]


def status() -> list[Said]:
    few = Report({"role": "server", "ready": True, "actors": 1, "rows": 200, "latency_p50_ms": 0.5})
    return [
        exchange(
            "the figures",
            "Status",
            "figures may be added: ignore what you do not know",
            *(control("operator", MessageType.STATUS, 0, 1), control("server", MessageType.REPORT, 0, 1, few)),
        ),
        exchange(
            "and some actors",
            "Bodies",
            "how many the report lists at most",
            control("operator", MessageType.STATUS, 0, 2, Question(10)),
        ),
    ]


TOPICS: dict[str, Callable[[], list[Said]]] = {
    "handshake": handshake,
    "step": steps,
    "errors": errors,
    "resends": resends,
    "drain": drain,
    "infer": inferring,
    "heartbeat": heartbeats,
    "bye": goodbye,
    "status": status,
}


def exchange(name: str, section: str, why: str, *messages: Said) -> Said:
    """Messages in the order in which they are said, and the section of docs/protocol.md that they are of."""
    return {"name": name, "section": section, "why": why, "messages": list(messages)}


def document(topic: str) -> str:
    """The file of one topic: JSON with one message a line."""
    specs = json.dumps({"observation": OBSERVATION, "action": ACTION, "output": OUTPUT})
    blocks = []
    for each in TOPICS[topic]():
        about = json.dumps({name: value for name, value in each.items() if name != "messages"})
        messages = ",\n  ".join(map(json.dumps, each["messages"]))
        blocks.append(f'{about[:-1]}, "messages": [\n  {messages}\n ]}}')
    listed = ",\n ".join(blocks)
    return f'{{"topic": "{topic}",\n"specs": {specs},\n"exchanges": [\n {listed}\n]}}\n'


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for topic in TOPICS:
        (FOLDER / f"{topic}.json").write_text(document(topic))
