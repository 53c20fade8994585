"""Several servers seen as one: sums, the slowest, the oldest, and what a silent one still counts for."""

from __future__ import annotations

from typing import Any

import pytest

from corral.launch.fleet import rows_of, whole, words


def server(**figures: Any) -> dict[str, Any]:
    return {
        "role": "server", "identity": "a", "ready": True, "uptime_s": 10.0, "rows": 100, "batches": 10,
        "rows_per_s": 50.0, "recent_batch": 10.0, "environments": 8, "actors": 2, "env_steps": 90, "episodes": 1,
        "mean_return": 20.0, "latency_p99_ms": 1.0, "policy_version": 7, "epoch": 1, "compute_s": 4.0,
        "errors": {"BUSY": 1}, "last_errors": ["x"], "batch_rows_histogram": [[1, 2], [8, 8]],
        "max_size": 64, "blocked": False, "learner_found": True, "learner_failure": "", "local": True,
        "batch_reasons": {"full": 10},
        **figures,
    }  # fmt: skip


OTHER = {
    "identity": "b", "rows": 300, "batches": 10, "rows_per_s": 150.0, "recent_batch": 30.0,
    "policy_version": 6, "latency_p99_ms": 3.0, "episodes": 3, "mean_return": 40.0, "uptime_s": 6.0,
    "environments": 16, "compute_s": 2.0,
    "errors": {"BUSY": 2, "EXPIRED": 1}, "last_errors": [], "batch_rows_histogram": [[8, 2], [64, 8]],
    "blocked": True,
}  # fmt: skip


def test_counts_add_up_and_of_the_rest_the_one_that_matters_is_told() -> None:
    figures = whole({"server-0": server(), "server-1": server(**OTHER)})
    assert figures["rows"] == 400
    assert figures["mean_batch"] == 20.0
    assert figures["rows_per_s"] == 200.0
    assert figures["recent_batch"] == pytest.approx(25.0)  # by rows: 50 of batches of 10, 150 of batches of 30
    assert figures["environments"] == 24
    assert figures["mean_return"] == pytest.approx(35.0)
    assert figures["latency_p99_ms"] == 3.0
    assert figures["policy_version"] == 6
    assert figures["uptime_s"] == 6.0
    assert figures["compute_s"] == 3.0
    assert figures["errors"] == {"BUSY": 3, "EXPIRED": 1}
    assert figures["last_errors"] == ["server-0: x"]
    assert figures["batch_rows_histogram"] == [[1, 2], [8, 10], [64, 8]]
    assert figures["blocked"] is True
    assert figures["identity"] == "a+b"
    assert figures["max_size"] == 64
    assert set(rows_of(figures)) == {"server-0", "server-1"}


def test_a_silent_server_still_has_done_what_it_did_and_does_nothing_now() -> None:
    figures = whole({"server-0": server(), "server-1": server(**OTHER)}, silent={"server-1"})
    assert figures["rows"] == 400
    assert figures["env_steps"] == 180
    assert figures["rows_per_s"] == 50.0
    assert figures["environments"] == 8
    assert figures["policy_version"] == 7
    assert figures["ready"] is True
    assert figures["blocked"] is False
    assert words(rows_of(figures)["server-1"]) == "silent"
    assert words(rows_of(figures)["server-0"]) == ("2 actors  8 environments  50 steps/s  batch 10.0  policy 7")


def test_one_that_is_ready_is_enough_and_none_is_not() -> None:
    waiting = server(ready=False, policy_version=0, epoch=0)
    figures = whole({"server-0": waiting, "server-1": server()})
    assert figures["ready"] is True
    assert figures["policy_version"] == 7
    assert words(rows_of(figures)["server-0"]) == "waiting"
    assert whole({"server-0": waiting}, silent={"server-0"})["ready"] is False
    assert whole({}) == {}
