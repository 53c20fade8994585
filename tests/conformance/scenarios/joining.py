"""How an actor joins: what it says, and what it does until it is welcomed."""

from __future__ import annotations

import struct

from tests.conformance.actors import Actors
from tests.conformance.greetings import error
from tests.conformance.scenarios.registry import SOON_S, scenario
from tests.conformance.stage import Failed, Stage


@scenario
def handshake(stage: Stage) -> None:
    """HELLO with every field, a session, one STEP, BYE (Bodies; HELLO; BYE)."""
    stage.start("play", 1)
    actors = Actors(stage)
    actors.joined()
    actors.steps(1)
    actors.farewell()


@scenario
def wide_numbers(stage: Stage) -> None:
    """A WELCOME with its fields in another order and its integers in eight bytes each (Control messages)."""
    stage.start("play", 2)
    actors = Actors(stage)
    actors.welcome(actors.greeted(), pack=lambda body: widely(dict(reversed(list(body.items())))))
    actors.steps(2)
    actors.farewell()


@scenario
def hello_lost(stage: Stage) -> None:
    """A HELLO without an answer is said again under its nonce; its WELCOME comes twice (Asking; HELLO)."""
    stage.start("play", 3)
    actors = Actors(stage)
    lost = actors.greeted()
    again = actors.greeted_again(lost)
    stage.send(again, actors.welcome(again))
    actors.steps(3)
    actors.farewell()


@scenario
def not_ready(stage: Stage) -> None:
    """A server without weights, then one that drains, is asked again under the same nonce (HELLO; Errors)."""
    stage.start("play", 2)
    actors = Actors(stage)
    hello = actors.greeted()
    for code in ("NOT_READY", "NOT_READY", "DRAINING", "DRAINING"):
        stage.send(hello, error(hello, code))
        hello = actors.greeted_again(hello, pause_s=SOON_S)
    actors.welcome(hello)
    actors.steps(2)
    actors.farewell()


@scenario
def busy(stage: Stage) -> None:
    """A server without free slots is asked ever more seldom, under the same nonce (HELLO; Errors)."""
    stage.start("play", 2)
    actors = Actors(stage)
    first = hello = actors.greeted()
    for _ in range(6):
        stage.send(hello, error(hello, "BUSY"))
        hello = actors.greeted_again(hello, pause_s=SOON_S)
    if hello.at - first.at < 0.3:
        raise Failed(f"a busy server was asked six times in {hello.at - first.at:.3f} s (Errors)")
    actors.welcome(hello)
    actors.steps(2)
    actors.farewell()


def widely(value: object) -> bytes:
    """msgpack whose integers take eight bytes each, and its strings and maps the longest length there is."""
    if isinstance(value, bool) or value is None:
        return b"\xc0" if value is None else bytes([0xC2 + value])
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value) if value < 0 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value)) + value.encode()
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(widely, value))
    assert isinstance(value, dict)
    items = (widely(name) + widely(each) for name, each in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + b"".join(items)
