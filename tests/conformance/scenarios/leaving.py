"""Sessions that end, and one that must not."""

from __future__ import annotations

import time

from tests.conformance.actors import Actors
from tests.conformance.greetings import error, expect
from tests.conformance.scenarios.registry import SOON_S, scenario
from tests.conformance.stage import Failed, Message, Stage
from tests.conformance.wire import read_body


@scenario
def expired(stage: Stage) -> None:
    """A session that is gone: a new nonce, sequences from 1, every environment reset; twice (EXPIRED)."""
    stage.start("play", 8)
    actors = Actors(stage)
    actors.joined()
    actors.steps(2)
    for _ in range(2):
        step = actors.stepped()
        stage.send(step, error(step, "EXPIRED"))
        actors.joined()
        actors.steps(3)
    actors.farewell()


@scenario
def draining(stage: Stage) -> None:
    """A server that is about to leave: as EXPIRED for a STEP, as NOT_READY for a HELLO (Draining; Errors)."""
    stage.start("play", 5)
    actors = Actors(stage)
    actors.joined()
    actors.steps(3)
    step = actors.stepped()
    stage.send(step, error(step, "DRAINING"))
    hello = actors.greeted()
    stage.send(hello, error(hello, "DRAINING"))
    actors.welcome(actors.greeted_again(hello, pause_s=SOON_S))
    actors.steps(2)
    actors.farewell()


@scenario
def restart(stage: Stage) -> None:
    """The server is gone with a STEP unanswered, and comes again knowing nobody (Asking; EXPIRED)."""
    stage.start("play", 5)
    actors = Actors(stage)
    actors.joined()
    actors.steps(3)
    lost = actors.stepped()
    stage.restart()
    step = actors.stepped_again(lost)
    stage.send(step, error(step, "EXPIRED"))
    actors.joined()
    actors.steps(2)
    actors.farewell()


@scenario
def slow_environment(stage: Stage) -> None:
    """An environment that takes half as long again as the lease: HEARTBEATs keep the session (Lease; Bodies)."""
    lease_s = 1.6
    stage.start("play", 2, slow_ms=2400)
    actors = Actors(stage, lease_s)
    actors.joined()
    actors.steps(1)
    answered = time.monotonic()
    step = actors.stepped()
    signs = [each for each in stage.heartbeats if each.at > answered] + [step]
    earlier = [answered, *(each.at for each in signs)]
    gap = max(sign.since - before for sign, before in zip(signs, earlier, strict=False))
    if gap > lease_s:
        raise Failed(f"no sign of life for {gap:.2f} s, where the lease is {lease_s} s (Lease)")
    for beat in stage.heartbeats:
        check_heartbeat(beat, actors.token)
    actors.act(step)
    actors.farewell()


def check_heartbeat(beat: Message, token: int) -> None:
    """The session's, small, and with the figures of the page or none."""
    expect(beat.header.session, token, "the session of a HEARTBEAT")
    expect((len(beat.frames), beat.header.rows), (1, 0), "frames and rows of a HEARTBEAT")
    if len(beat.frames[0]) > 256:
        raise Failed(f"a HEARTBEAT of {len(beat.frames[0])} bytes; 256 are the most (Control messages)")
    if len(beat.frames[0]) == 24:
        return
    body = read_body(beat.frames[0])
    expect(sorted(body), ["environment_s", "requests", "steps", "wait_s"], "the fields of a HEARTBEAT (Bodies)")
    wrong = [name for name in ("requests", "steps") if type(body[name]) is not int]
    if wrong or min(body.values()) < 0:
        raise Failed(f"a HEARTBEAT has the figures {body} (Bodies)")
