"""The poller on its own thread, with whoever answers played by hand."""

from __future__ import annotations

import threading
from typing import Any

from corral.launch.poller import StatusPoller
from tests.support.processes import until


class Answers:
    """Answers at some addresses, and notes what a listener is told."""

    def __init__(self, **known: dict[str, Any]) -> None:
        self.known = known
        self.heard: list[tuple[str, dict[str, Any] | None]] = []
        self.threads: set[str] = set()

    def fetch(self, address: str, timeout_s: float) -> dict[str, Any] | None:
        self.threads.add(threading.current_thread().name)
        if address == "wrong":
            raise ValueError("no address to connect to")
        return self.known.get(address)

    def listen(self, role: str, figures: dict[str, Any] | None) -> None:
        self.heard.append((role, figures))


def test_answers_and_silence_are_told_and_old_figures_are_kept() -> None:
    answers = Answers(here={"rows": 1})
    poller = StatusPoller(
        {"server": "here", "learner": "there"}, answers.fetch, period_s=0.01, listener=answers.listen
    )
    poller.start()
    try:
        until(lambda: len(answers.heard) >= 4, 5, "two rounds")
        assert answers.heard[:2] == [("server", {"rows": 1}), ("learner", None)]
        answers.known.clear()
        until(lambda: answers.heard[-2:] == [("server", None), ("learner", None)], 5, "silence")
        assert poller.figures == {"server": {"rows": 1}}
    finally:
        poller.stop()
    assert answers.threads == {"status"}


def test_it_asks_elsewhere_as_soon_as_it_is_told() -> None:
    answers = Answers(new={"rows": 2})
    poller = StatusPoller({"server": "old"}, answers.fetch, period_s=0.01, listener=answers.listen)
    poller.start()
    try:
        until(lambda: ("server", None) in answers.heard, 5, "silence")
        poller.move({"server": "new"})
        until(lambda: poller.figures.get("server") == {"rows": 2}, 5, "an answer")
    finally:
        poller.stop()


def test_what_cannot_be_asked_is_asked_no_more() -> None:
    answers = Answers(here={"rows": 1})
    poller = StatusPoller(
        {"learner": "wrong", "server": "here"}, answers.fetch, period_s=0.01, listener=answers.listen
    )
    poller.start()
    try:
        until(lambda: len(answers.heard) >= 3, 5, "three rounds")
    finally:
        poller.stop()
    assert {role for role, _ in answers.heard} == {"server"}


def test_several_servers_are_told_of_as_one() -> None:
    answers = Answers(a={"rows": 1, "ready": True}, b={"rows": 2, "ready": True})
    poller = StatusPoller(
        {"server-0": "a", "server-1": "b"},
        answers.fetch,
        period_s=0.01,
        listener=answers.listen,
        servers=("server-0", "server-1"),
    )
    poller.start()
    try:
        until(lambda: len(answers.heard) >= 2, 5, "two rounds")
        role, figures = answers.heard[0]
        assert role == "server"
        assert figures is not None
        assert figures["rows"] == 3
        assert poller.figures["server-1"]["rows"] == 2
        del answers.known["b"]
        until(lambda: poller.figures["server"]["servers"]["server-1"]["silent"], 5, "one is silent")
        assert answers.heard[-1][1] is not None
        answers.known.clear()
        until(lambda: answers.heard[-1] == ("server", None), 5, "both are silent")
    finally:
        poller.stop()
