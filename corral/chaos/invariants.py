"""What must hold whatever dies: checked in all that server and learner tell, and in the books at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corral.launch.books import Books

CHECKED = {
    "comes back": "whatever was hit does its work again by itself",
    "policy": "a server's policy never goes back, and neither does a learner's version within its epoch",
    "counts": "no counter of one process ever goes back",
    "balance": "steps taken in = accepted + dropped + under way, in every figure of every server",
    "compiles": "a server that was ready never compiles anything again",
    "messages": "nobody is refused for a message that is wrong or out of order",
    "once": "no server's steps are accepted more often than they were taken in",
    "bounds": "a server takes no more along than open unrolls, the learner's window and the batches around them",
    "logs": "no process meets a defect",
}
"""Every invariant, and what it says."""

_WRONG = ("SEQUENCE", "MALFORMED", "SPEC", "LIMIT", "INTERNAL", "UNKNOWN_TYPE", "VERSION")
_SERVER_COUNTS = ("rows", "env_steps", "steps_accepted", "steps_dropped", "unrolls_accepted", "unrolls_shed")
_LEARNER_COUNTS = ("env_steps", "steps_accepted", "steps_lost", "training_steps", "episodes", "policy_version")
_DEFECTS = ("Traceback (most recent call last)", "a defect; see")


class Invariants:
    """Looks at figures, and remembers what was wrong.

    Attributes:
      broken: name of an invariant -> what was seen, the first time.
      looks: figures looked at.
    """

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}
        self.looks = 0
        self._last: dict[str, Mapping[str, Any]] = {}

    def see(self, name: str, figures: Mapping[str, Any]) -> None:
        """Look at what the process of that name says now: "learner", or a server."""
        before = self._last.get(name)
        if not figures or figures is before:
            return
        self._last[name] = figures
        self.looks += 1
        if name == "learner":
            self._see_learner(figures, before)
        else:
            self._see_server(figures, before)

    def blame(self, name: str, text: str) -> None:
        """Say that an invariant does not hold; the first word about each counts."""
        self.broken.setdefault(name, text)

    def see_books(self, books: Iterable[tuple[str, Books]], most_lost: int) -> None:
        """Look at the books of each server, at the end.

        Args:
          books: by identity.
          most_lost: steps that a server may take along when it dies.
        """
        for name, each in books:
            if min(each.unfinished, each.lost_with_server) < 0:
                self.blame("once", f"of server {name}, more steps were accepted than it took in: {each}")
            if each.lost_with_server > most_lost:
                self.blame("bounds", f"server {name} took {each.lost_with_server} steps along; at most {most_lost}")

    def see_logs(self, logs: Iterable[Path]) -> None:
        """Look for defects in what processes wrote."""
        for log in logs:
            text = log.read_text(errors="replace") if log.exists() else ""
            for mark in _DEFECTS:
                if mark in text:
                    self.blame("logs", f"{log} has {mark!r}")

    def _see_server(self, now: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
        parts = sum(now[name] for name in ("steps_accepted", "steps_dropped", "steps_underway"))
        if parts != now["env_steps"]:
            self.blame("balance", f"a server took in {now['env_steps']} steps and knows of {parts}")
        wrong = {code: count for code, count in now["errors"].items() if code in _WRONG}
        if wrong:
            self.blame("messages", f"a server refused messages: {wrong}; the last: {now['last_errors'][-1:]}")
        if before is None or before["identity"] != now["identity"]:
            return
        self._never_back("counts", "a server", _SERVER_COUNTS, now, before)
        acting, acted = ((figures["epoch"], figures["policy_version"]) for figures in (now, before))
        if acting < acted:
            self.blame("policy", f"a server went from epoch and version {acted} back to {acting}")
        if before["ready"] and now["traces"] != before["traces"]:
            self.blame("compiles", f"a server compiled {now['traces'] - before['traces']} times under traffic")

    def _see_learner(self, now: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
        if before is None:
            return
        if now["epoch"] < before["epoch"]:
            self.blame("policy", f"the learner went from epoch {before['epoch']} back to {now['epoch']}")
        if now["epoch"] == before["epoch"]:
            self._never_back("policy", "the learner", ("policy_version",), now, before)
            self._never_back("counts", "the learner", _LEARNER_COUNTS, now, before)

    def _never_back(
        self,
        invariant: str,
        who: str,
        names: Iterable[str],
        now: Mapping[str, Any],
        before: Mapping[str, Any],
    ) -> None:
        for name in names:
            if now[name] < before[name]:
                self.blame(invariant, f"{who}'s {name} went from {before[name]} back to {now[name]}")
