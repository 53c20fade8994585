"""What `corral top` draws, from answers that are handed in by hand."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from corral.dashboard.sources import Source
from corral.dashboard.terminal import as_dict, render
from corral.dashboard.watch import Watch

SERVER = {
    "role": "server", "ready": True, "uptime_s": 100.0, "rows": 4_000, "env_steps": 4_000, "episodes": 3,
    "timeout_us": 1_500, "timeout_auto": True, "max_size": 64, "buckets": [1, 64], "waiting_rows": 7,
    "latency_p50_ms": 1.25, "latency_p99_ms": 3.5, "queue_p50_ms": 0.5, "queue_p99_ms": 1.0, "compute_p50_ms": 2.0,
    "compute_p99_ms": 4.0, "actors": 3, "environments": 12, "last_errors": ["SPEC: too large"],
    "actor_environment_s": 10.0, "actor_wait_s": 10.0, "actor_requests": 100, "step_requests": 100,
    "actor_table": [
        {"host": "near", "first_environment": 0, "environments": 4, "seen_s": 0.5, "steps_per_s": 1234.0,
         "wait_share": 0.25, "environment_share": 0.75},
        {"host": "far", "first_environment": 4, "environments": 4, "seen_s": 1.0, "steps_per_s": 10.0,
         "wait_share": 0.75, "environment_share": 0.25},
        {"host": "", "first_environment": 8, "environments": 4, "seen_s": 2.0},
    ],
}  # fmt: skip
LEARNER = {"role": "learner", "ready": True, "training_steps": 77, "losses": {"loss": 0.5}, "policy_lag_p50": 2.0}


def drawn(watch: Watch, actors: int = 10) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(render(watch, actors))
    return capture.get()


def watch_of(*readings: tuple[str, dict[str, Any]]) -> Watch:
    watch = Watch(Source("it", {"server": "ipc:///s", "learner": "ipc:///l"}), lambda address, timeout_s: None)
    for role, figures in readings:
        watch.hear(role, figures)
    return watch


LATER = {**SERVER, "uptime_s": 110.0, "actor_environment_s": 19.0, "actor_wait_s": 11.0, "actor_requests": 200}


def test_all_of_it() -> None:
    watch = watch_of(("server", SERVER), ("learner", LEARNER), ("server", LATER))
    text = drawn(watch)
    assert "it  training" in text
    assert "environment-bound: actors spend 90 % of their time in their environments, 90.0 ms a step" in text
    assert "the actors' time: environment 90 %, network 10 %, batch 0 %, engine 0 %, learner 0 %" in text
    assert "queue p50 / p99 0.50 / 1.00 ms   compute 2.00 / 4.00 ms   timeout auto, now 1,500 us" in text
    assert "training steps 77   loss 0.5" in text
    assert "SPEC: too large" in text
    rows = [line.split() for line in text.splitlines()[-3:]]
    # Those that wait most first.
    assert rows[0] == ["far", "4", "4", "10", "75%", "25%", "1.0", "s", "ago"]
    assert rows[1][:4] == ["near", "0", "4", "1,234"]
    assert rows[2] == ["-", "8", "4", "-", "-", "-", "2.0", "s", "ago"]


def test_as_many_actors_as_are_asked_for() -> None:
    watch = watch_of(("server", SERVER))
    assert "and 2 more" in drawn(watch, actors=1)
    assert "host" not in drawn(watch, actors=0)


def test_nobody_has_answered() -> None:
    assert "it  waiting  for an answer from ipc:///s" in drawn(watch_of())


def test_a_learner_by_its_address() -> None:
    watch = watch_of(("server", LEARNER))
    assert watch.learner == LEARNER
    assert watch.server == {}
    assert "it  training  a learner; its servers are not watched" in drawn(watch)
    assert "training steps 77" in drawn(watch)


def test_for_programs() -> None:
    watch = watch_of(("server", SERVER), ("learner", LEARNER))
    found = as_dict(watch)
    assert found == {
        "name": "it", "standing": "training", "server": SERVER, "learner": LEARNER, "verdict": None
    }  # fmt: skip
    watch.hear("server", LATER)
    assert as_dict(watch)["verdict"]["bound"] == "environment-bound"
