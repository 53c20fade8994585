"""Steps, and what may happen to them on the way."""

from __future__ import annotations

from tests.conformance.actors import Actors
from tests.conformance.counter import ACTIONS
from tests.conformance.scenarios.registry import scenario
from tests.conformance.stage import Message, Stage
from tests.conformance.wire import Header


@scenario
def steps(stage: Stage) -> None:
    """Twenty STEPs, through episodes that terminate and that are truncated, every byte checked (Steps; Answers)."""
    stage.start("play", 20)
    actors = Actors(stage)
    actors.joined()
    actors.steps(20)
    actors.farewell()


@scenario
def step_lost(stage: Stage) -> None:
    """A STEP without an answer is sent again, the same bytes under the same sequence (Asking; Sequence)."""
    stage.start("play", 5)
    actors = Actors(stage)
    actors.joined()
    actors.steps(3)  # environment 0 has an end in the lost one, with a final observation
    lost = actors.stepped()
    actors.act(actors.stepped_again(lost))
    actors.steps(1)
    actors.farewell()


@scenario
def answer_doubled(stage: Stage) -> None:
    """An answer that comes twice is taken once, a late one never (Asking; The header)."""
    stage.start("play", 6)
    actors = Actors(stage)
    hello = actors.greeted()
    actors.welcome(hello)
    for _ in range(6):
        step = actors.stepped()
        other = [1 + (3 * step.header.sequence + 2) % ACTIONS] * step.header.rows
        for stray in strays(hello, step):
            stage.send(step, actors.answer(stray, [each % ACTIONS for each in other]))
        stage.send(step, actors.act(step))
    actors.farewell()


def strays(hello: Message, step: Message) -> list[Message]:
    """What an answer might be mistaken for: of the step before, of another session, of the greeting."""
    header = step.header
    numbers = [
        (header.session, header.sequence - 1),
        (header.session, header.sequence + 1),
        (header.session ^ 1, header.sequence),
        (hello.header.session, hello.header.sequence),
        (hello.header.session, header.sequence),
    ]
    return [
        Message(step.route, Header(header.type, header.rows, 0, session, sequence % 2**64), [], step.since, step.at)
        for session, sequence in numbers
    ]
