"""What ends a client: it says so, and says nothing more to the server."""

from __future__ import annotations

from tests.conformance.actors import Actors
from tests.conformance.greetings import error
from tests.conformance.scenarios.registry import scenario
from tests.conformance.stage import Failed, Stage
from tests.conformance.wire import ERROR, VERSION, Header, pack_body


@scenario
def version_unknown(stage: Stage) -> None:
    """A server of another version says so in a header of its own: the client gives up (HELLO; The header)."""
    stage.start("play", 1)
    hello = Actors(stage).greeted()
    body = {"code": "VERSION", "text": "this side speaks 2"}
    stage.send(hello, pack_body(Header(ERROR, 0, 0, 0, 0), body, version=VERSION + 1))
    gave_up(stage, None)


@scenario
def version_refused(stage: Stage) -> None:
    """A server that wants none of the versions offered: the client gives up (HELLO; Errors)."""
    refused_greeting(stage, "VERSION")


@scenario
def spec_refused(stage: Stage) -> None:
    """An environment that the server does not have: the client gives up, and shows the text (HELLO; Errors)."""
    refused_greeting(stage, "SPEC")


@scenario
def forbidden(stage: Stage) -> None:
    """A key that may not act: the client gives up (Errors)."""
    refused_greeting(stage, "FORBIDDEN")


@scenario
def malformed(stage: Stage) -> None:
    """A STEP that the server cannot read: the client gives up, and does not send it again (Errors)."""
    refused_step(stage, "MALFORMED")


@scenario
def out_of_sequence(stage: Stage) -> None:
    """A STEP out of order: the client gives up (Errors)."""
    refused_step(stage, "SEQUENCE")


@scenario
def unknown_error(stage: Stage) -> None:
    """A code that the page does not know is INTERNAL: the client gives up, or asks again later (Errors)."""
    stage.start("play", 3)
    actors = Actors(stage)
    actors.joined()
    actors.steps(2)
    step = actors.stepped()
    stage.send(step, error(step, "TOO_NEW", "a code of the future"))
    try:
        again = actors.stepped_again(step)
    except Failed:
        gave_up(stage, "a code of the future")
    else:
        actors.act(again)
        actors.farewell()


def refused_greeting(stage: Stage, code: str) -> None:
    """A HELLO that is refused for good."""
    stage.start("play", 1)
    hello = Actors(stage).greeted()
    stage.send(hello, error(hello, code, f"refused for {code.lower()}"))
    gave_up(stage, f"refused for {code.lower()}")


def refused_step(stage: Stage, code: str) -> None:
    """A STEP that is refused for good."""
    stage.start("play", 5)
    actors = Actors(stage)
    actors.joined()
    actors.steps(2)
    step = actors.stepped()
    stage.send(step, error(step, code, f"refused for {code.lower()}"))
    gave_up(stage, f"refused for {code.lower()}", bye=actors.token)


def gave_up(stage: Stage, text: str | None, bye: int | None = None) -> None:
    """A client that says at most BYE, ends with another code than 0, and shows the server's text."""
    code = stage.exit_code(bye)
    if code == 0:
        raise Failed("the client ended with 0, as if nothing had been wrong (README.md)")
    if text is not None and text not in stage.words:
        raise Failed(f"the server's text, {text!r}, is not among the client's words (README.md)")
