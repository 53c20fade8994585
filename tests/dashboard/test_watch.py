"""What is remembered of a source, from answers that are handed in by hand, at times that are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actor_client.settings import EnvironmentSettings
from corral.dashboard.curves import timeout_text
from corral.dashboard.sources import Source, of_run
from corral.dashboard.watch import Watch
from corral.dashboard.words import complaint, standing, tiles
from corral.launch.experiment import Experiment
from corral.launch.folder import METRICS, SUMMARY, begin, hold, write_json
from corral.launch.settings import RunSettings
from tests.support.clock import Clock

SERVER = {
    "ready": True,
    "rows": 1_000,
    "env_steps": 1_000,
    "timeout_us": 0,
    "timeout_auto": False,
    "max_size": 64,
    "buckets": [1, 64],
    "compiled_sizes": [1, 8, 64],
    "latency_p50_ms": 1.0,
    "latency_p99_ms": 3.0,
}
LEARNER = {
    "ready": True,
    "env_steps": 900,
    "episodes": 5,
    "mean_return": 10.0,
    "return_std": 2.0,
    "return_count": 4,
}


def watch_of(*, learner: bool = True, folder: Path | None = None) -> tuple[Watch, Clock]:
    clock = Clock(100.0)
    addresses = {"server": "ipc:///s"} | ({"learner": "ipc:///l"} if learner else {})
    source = of_run(folder) if folder is not None else Source("it", addresses)
    return Watch(source, lambda address, timeout_s: None, clock), clock


def test_throughput_is_what_came_since_the_look_before() -> None:
    watch, clock = watch_of()
    for rows in (1_000, 1_500, None, 3_000, 3_100, 50):
        watch.hear("server", None if rows is None else {**SERVER, "rows": rows})
        clock.now += 2
    assert [speed for _, speed in watch.drawn().over_time["throughput"]] == [None, 250.0, None, None, 50.0, None]
    assert [seconds for seconds, _ in watch.drawn().over_time["throughput"]] == [-12, -10, -8, -6, -4, -2]
    assert watch.drawn().over_time["latency"][2] == (-8, None, None)
    assert watch.drawn().over_time["latency"][3] == (-6, 1.0, 3.0)


def test_the_band_is_two_standard_errors_to_each_side() -> None:
    watch, _ = watch_of()
    watch.hear("learner", LEARNER)
    (row,) = watch.drawn().returns
    assert row == (900, 10.0, pytest.approx(10 - 1.96), pytest.approx(10 + 1.96))
    watch.hear("learner", {**LEARNER, "env_steps": 1_000, "return_std": None})
    assert watch.drawn().returns[-1] == (1_000, 10.0, None, None)


def test_a_server_with_a_learner_elsewhere_shows_its_own_returns() -> None:
    watch, _ = watch_of(learner=False)
    assert not watch.trains
    watch.hear("server", {**SERVER, "episodes": 3, "mean_return": 7.0})
    assert watch.trains
    assert watch.drawn().returns == [(1_000, 7.0, None, None)]
    assert tiles(watch)["mean return"] == "7.0"


def test_changes_are_marked_and_those_of_one_drag_are_one() -> None:
    watch, clock = watch_of()
    settings = [(0, 64), (500, 64), (700, 64), (700, 8)]
    for seconds, (timeout, size) in zip((1, 5, 1, 10), settings, strict=True):
        clock.now += seconds
        watch.hear("server", {**SERVER, "timeout_us": timeout, "max_size": size})
    assert watch.drawn().marks == [(-10, "700 µs"), (0, "8 rows")]


def test_a_timeout_that_the_server_learns_is_no_change() -> None:
    watch, clock = watch_of()
    for timeout in (0, 300, 200):
        clock.now += 10
        watch.hear("server", {**SERVER, "timeout_us": timeout, "timeout_auto": True})
    assert watch.drawn().marks == []
    assert timeout_text(200, auto=True) == "auto, now 200 µs"


def test_an_answer_without_a_table_keeps_the_one_before() -> None:
    watch, _ = watch_of()
    watch.hear("server", {**SERVER, "actor_table": [{"host": "a"}]})
    watch.hear("server", SERVER)
    assert watch.server["actor_table"] == [{"host": "a"}]
    assert watch.sizes == [1, 8, 64]


def test_losses_are_bounded_in_number() -> None:
    watch, _ = watch_of()
    for step in range(1, 50):
        watch.hear("learner", {**LEARNER, "env_steps": step, "losses": {f"loss {step}": 1.0, "loss": float(step)}})
    assert len(watch.drawn().losses) == 12
    assert watch.drawn().losses["loss"][-1] == (49, 49.0)


def test_how_a_source_stands_is_said() -> None:
    watch, clock = watch_of()
    assert standing(watch).word == "waiting"
    assert "ipc:///s" in standing(watch).text
    watch.hear("server", {**SERVER, "ready": False, "rows": 0, "env_steps": 0})
    assert standing(watch).word == "warming"
    watch.hear("server", SERVER)
    watch.hear("learner", LEARNER)
    assert standing(watch).word == "training"
    watch.hear("learner", {**LEARNER, "paused": True})
    assert standing(watch).word == "paused"
    clock.now += 4
    watch.hear("server", SERVER)
    assert standing(watch).word == "no learner"
    clock.now += 4
    assert standing(watch) == (
        "silent",
        "the server has not answered for 4 s; the curves go on when it is back",
        *("negative", "link_off"),
    )
    watch.hear("server", {**SERVER, "ready": False})
    watch.hear("learner", LEARNER)
    assert standing(watch).word == "draining"
    assert complaint(watch) == ""
    watch.hear("server", {**SERVER, "last_errors": ["LIMIT: a", "SPEC: b"]})
    assert complaint(watch) == "SPEC: b"


def test_a_server_that_serves_only_says_so() -> None:
    watch, _ = watch_of(learner=False)
    watch.hear("server", {**SERVER, "env_steps": 0})
    assert standing(watch).word == "serving"
    assert "mean return" not in tiles(watch)


def test_a_run_is_remembered_from_its_folder_and_its_end_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    experiment = Experiment(
        run=RunSettings(name="run", target_return=475.0), environment=EnvironmentSettings("CartPole-v1")
    )
    begin(folder, experiment, ["ipc:///s"], "ipc:///l")
    lines: list[dict[str, Any]] = [
        {"env_steps": 100, "elapsed_s": 1.0, "mean_return": 20.0, "training/loss": 3.0},
        {"env_steps": 200, "elapsed_s": 2.0, "mean_return": 30.0, "training/loss": 2.0},
    ]
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with hold(folder):
        watch, clock = watch_of(folder=folder)
        assert watch.target == 475.0
        assert watch.drawn().returns == [(100, 20.0, None, None), (200, 30.0, None, None)]
        assert watch.drawn().losses == {"loss": [(100, 3.0), (200, 2.0)]}
        watch.hear("server", SERVER)
        clock.now += 10
        watch.hear("server", None)
        assert standing(watch).word == "silent"
    write_json(folder / SUMMARY, {"solved": True, "mean_return": 480.25, "env_steps": 12_345})
    watch.hear("server", None)
    assert standing(watch)[:2] == ("ended", "solved: mean return 480.2 after 12,345 steps")
    watch.hear("server", SERVER)  # it was resumed
    assert standing(watch).word == "training"
