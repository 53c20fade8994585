from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.chaos.invariants import CHECKED, Invariants
from corral.launch.books import Books


def server(**changes: Any) -> dict[str, Any]:
    return {
        "identity": "a", "ready": True, "epoch": 5, "policy_version": 7, "traces": 3, "rows": 100, "env_steps": 90,
        "steps_accepted": 60, "steps_dropped": 10, "steps_underway": 20, "unrolls_accepted": 4, "unrolls_shed": 0,
        "errors": {"NOT_READY": 3, "EXPIRED": 1}, "last_errors": ["EXPIRED: gone"],
    } | changes  # fmt: skip


def learner(**changes: Any) -> dict[str, Any]:
    return {
        "epoch": 5, "policy_version": 7, "env_steps": 90, "steps_accepted": 60, "steps_lost": 0,
        "training_steps": 6, "episodes": 2,
    } | changes  # fmt: skip


def broken(*seen: tuple[str, dict[str, Any]]) -> set[str]:
    invariants = Invariants()
    for role, figures in seen:
        invariants.see(role, figures)
    assert invariants.looks == len(seen)
    return invariants.broken.keys() & CHECKED.keys()


def test_what_grows_is_well() -> None:
    later = server(env_steps=95, steps_underway=25, epoch=6, policy_version=1)
    anew = server(identity="b", env_steps=0, steps_accepted=0, steps_dropped=0, steps_underway=0, traces=1)
    restarted = learner(epoch=6, policy_version=3, env_steps=50, training_steps=2)
    assert not broken(("server", server()), ("server", later), ("server", anew))
    assert not broken(("learner", learner()), ("learner", learner(env_steps=91)), ("learner", restarted))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("balance", {"steps_underway": 21}),
        ("messages", {"errors": {"SEQUENCE": 1}}),
        ("policy", {"policy_version": 6}),
        ("policy", {"epoch": 4, "policy_version": 9}),
        ("compiles", {"traces": 4}),
        ("counts", {"rows": 99}),
    ],
)
def test_a_server_that_is_wrong_is_found(name: str, change: dict[str, Any]) -> None:
    assert broken(("server", server()), ("server", server(**change))) == {name}


@pytest.mark.parametrize(
    ("name", "change"),
    [("policy", {"epoch": 4}), ("policy", {"policy_version": 6}), ("counts", {"steps_accepted": 59})],
)
def test_a_learner_that_is_wrong_is_found(name: str, change: dict[str, Any]) -> None:
    assert name in broken(("learner", learner()), ("learner", learner(**change)))


def test_books_that_cannot_be_are_found() -> None:
    invariants = Invariants()
    invariants.see_books([("a", Books(100, 80, 5, 5, 10)), ("b", Books(100, 90, 4, 0, 0, 6))], most_lost=10)
    assert not invariants.broken
    invariants.see_books([("c", Books(100, 101, lost_with_server=-1))], most_lost=10)
    assert invariants.broken.keys() == {"once"}
    invariants.see_books([("d", Books(100, 89, lost_with_server=11))], most_lost=10)
    assert invariants.broken.keys() == {"once", "bounds"}


def test_a_trace_in_a_log_is_found(tmp_path: Path) -> None:
    invariants = Invariants()
    (tmp_path / "server.log").write_text("WARNING an actor fell silent\n")
    invariants.see_logs(tmp_path.glob("*.log"))
    assert not invariants.broken
    (tmp_path / "learner.log").write_text("ERROR a message failed\nTraceback (most recent call last):\n")
    invariants.see_logs(tmp_path.glob("*.log"))
    assert "learner.log" in invariants.broken["logs"]
