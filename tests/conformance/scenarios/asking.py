"""INFER, and what may happen to it."""

from __future__ import annotations

from tests.conformance.clients import Clients
from tests.conformance.greetings import error, expect
from tests.conformance.scenarios.registry import SOON_S, scenario
from tests.conformance.stage import Failed, Stage


@scenario
def infer(stage: Stage) -> None:
    """Five INFERs: leaves in the server's order, answers with two leaves of unlike sizes (INFER; Answers)."""
    stage.start("infer", 5)
    clients = Clients(stage)
    clients.joined()
    clients.answers(5)
    clients.farewell()


@scenario
def infer_busy(stage: Stage) -> None:
    """A server with too many rows is asked again under a new sequence, one without weights too (INFER; Errors)."""
    stage.start("infer", 3)
    clients = Clients(stage)
    clients.joined()
    clients.answers(1)
    request = clients.asked()
    for code in ("BUSY", "BUSY", "NOT_READY", "BUSY", "DRAINING"):
        stage.send(request, error(request, code))
        again = clients.asked(request)
        if again.at - request.at < SOON_S:
            raise Failed(f"a busy server was asked again after {again.at - request.at:.4f} s (Errors)")
        if code == "BUSY" and again.header.sequence == request.header.sequence:
            raise Failed("what was answered by BUSY is asked again under a new sequence (INFER)")
        request = again
    clients.put_out(request)
    clients.answers(1)
    clients.farewell()


@scenario
def infer_lost(stage: Stage) -> None:
    """An INFER without an answer is sent again; answers that come twice are taken once (Asking; INFER)."""
    stage.start("infer", 4)
    clients = Clients(stage)
    clients.joined()
    clients.answers(1)
    lost = clients.asked()
    again = clients.asked(lost)
    expect(again.frames, lost.frames, "an INFER that is sent again")
    stage.send(again, clients.put_out(again))
    clients.answers(2)
    clients.farewell()
