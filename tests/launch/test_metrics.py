"""A run's figures over time, with a clock of the test's own."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from corral.launch.errors import UserError
from corral.launch.metrics import MetricsLog, figures, load_sink, read_metrics
from corral.launch.progress import Progress
from corral.launch.settings import RunSettings


def progress(elapsed_s: float, steps: int, mean: float = 20.0, **server: Any) -> Progress:
    learner = {"env_steps": steps, "mean_return": mean, "episodes": 3, "losses": {"loss": 0.5}}
    return Progress(RunSettings(), elapsed_s, {"ready": True, **server}, learner)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_says_what_is_known(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 1000.5)
    log.record(progress(2.0, 100, recent_batch=24.5, timeout_us=500, latency_p50_ms=float("nan")))
    assert lines(tmp_path) == [
        {
            "time": 1000.5,
            "env_steps": 100,
            "elapsed_s": 2.0,
            "mean_return": 20.0,
            "server/batch": 24.5,
            "server/timeout_us": 500.0,
            "learner/episodes": 3.0,
            "training/loss": 0.5,
        }
    ]


def test_lines_come_densely_at_first_and_sparsely_later(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 0.0)
    for quarter in range(40):  # ten seconds
        log.record(progress(quarter / 4, quarter + 1))
    assert len(lines(tmp_path)) == 40
    for second in range(2000, 2010):
        log.record(progress(float(second), second))
    assert [line["elapsed_s"] for line in lines(tmp_path)[40:]] == [2000.0, 2005.0]  # every 2000 / 400 s
    for second in range(100_000, 100_100):
        log.record(progress(float(second), second))
    assert len(lines(tmp_path)) == 42 + 10


def test_nothing_is_written_while_nothing_goes_on(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 0.0)
    log.record(progress(1.0, 0))
    log.record(progress(2.0, 10))
    log.record(progress(9.0, 10))
    assert [line["elapsed_s"] for line in lines(tmp_path)] == [2.0]


def test_tensorboard_gets_the_same(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 7.0)
    log.record(progress(1.0, 10, mean=3.0))
    log.record(progress(2.0, 20, mean=4.0))
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, at, seen = file.read_bytes(), 0, []
    while at < len(data):  # TFRecord: length, its checksum, the record, its checksum
        size = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + size])
        seen += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 16 + size
    assert [entry for entry in seen if entry[1] == "mean_return"] == [
        (10, "mean_return", 3.0),
        (20, "mean_return", 4.0),
    ]


def test_a_folder_that_is_gone_costs_the_figures_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path / "gone")
    log.record(progress(1.0, 1))
    log.record(progress(2.0, 2))
    assert [record.message.partition(":")[0] for record in caplog.records] == ["metrics are not written any more"]


def test_a_disk_that_fills_up_costs_the_figures_and_nothing_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsLog(tmp_path)
    log.record(progress(1.0, 1))

    def full(writer: object, event: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(EventsWriter, "write_event", full)
    for second in range(2, 30):
        log.record(progress(float(second), second))
    log.record(progress(30.0, 30), last=True)
    assert [record.message for record in caplog.records] == [
        "metrics are not written any more: [Errno 28] No space left on device"
    ]


def test_the_last_moment_is_written_whenever_it_comes(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 0.0)
    log.record(progress(1.0, 10))
    log.record(progress(1.1, 20))
    log.record(progress(1.2, 30), last=True)
    log.record(progress(1.3, 30), last=True)
    assert [line["env_steps"] for line in lines(tmp_path)] == [10, 30]


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"env_steps": 1}\n{"env_st')
    assert read_metrics(tmp_path) == [{"env_steps": 1}]
    assert read_metrics(tmp_path / "nowhere") == []


def test_figures_are_finite_numbers_by_name() -> None:
    values = figures(progress(1.0, 5, actors=4, environments=48))
    assert values["server/actors"] == 4
    assert all(isinstance(value, int | float) for value in values.values())


def test_a_sink_gets_every_line(tmp_path: Path) -> None:
    got: list[dict[str, float]] = []
    log = MetricsLog(tmp_path, got.append)
    log.record(progress(2.0, 100))
    log.record(progress(4.0, 200))
    assert [{name: value for name, value in line.items() if name != "time"} for line in lines(tmp_path)] == got
    assert [line["env_steps"] for line in got] == [100, 200]


def test_a_sink_that_fails_costs_itself(tmp_path: Path) -> None:
    calls = []

    def sink(values: dict[str, float]) -> None:
        calls.append(values)
        raise OSError("the service is away")

    log = MetricsLog(tmp_path, sink)
    log.record(progress(2.0, 100))
    log.record(progress(4.0, 200))
    assert len(calls) == 1
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("name", ["no_such_module:sink", "json:no_such_function"])
def test_a_sink_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(UserError, match=r"metrics\.sink = .* cannot be had: .*no_such"):
        load_sink(name)
