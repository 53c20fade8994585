"""`--trace`: real processes record, and what they wrote is held against their own counters."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from actor_client import PolicyClient
from corral.cli.options import trace_seconds
from corral.launch.errors import UserError
from corral.protocol import fetch_status
from tests.support.command import Workplace, workplace
from tests.support.models import save_two_headed_model
from tests.support.ports import free_ports
from tests.support.processes import until, until_serving
from tests.support.trace import Trace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


@contextmanager
def command(place: Workplace, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A `corral` command that is gone when the block ends; its log lies in `place.folder / "log"`."""
    with (place.folder / "log").open("w") as log:
        started = subprocess.Popen(
            ["corral", *arguments],
            cwd=place.folder,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
            started.wait(20)
            print((place.folder / "log").read_text())


def compute_seconds(port: int) -> tuple[int, float]:
    """Batches, and seconds spent on them, as the server tells Prometheus."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    name = "corral_inference_compute_seconds"
    count, total = (re.search(rf"^{name}_{what} (\S+)$", text, re.MULTILINE) for what in ("count", "sum"))
    return (int(float(count[1])), float(total[1])) if count and total else (0, 0.0)


def serve(place: Workplace, seconds: str, metrics: int) -> tuple[str, tuple[str, ...]]:
    save_two_headed_model(place.folder / "policy.keras")
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    sizes = ("--buckets", "1,4", "--max-size", "4", "--metrics-port", str(metrics))
    return address, ("serve", "policy.keras", "--address", address, *sizes, "--trace", seconds)


def test_a_trace_of_a_server_agrees_with_its_counters(place: Workplace) -> None:
    (metrics,) = free_ports(1)
    address, arguments = serve(place, "60s", metrics)
    with command(place, *arguments) as server:
        until_serving(address)
        with PolicyClient(address) as client:
            for rows in (1, 3, 4, 1, 2) * 40:
                client.infer(np.zeros((rows, 4), np.float32))
        status = fetch_status(address, 5)
        assert status is not None
        assert status["rows"] == 40 * 11
        until(lambda: compute_seconds(metrics)[0] == status["batches"], 10, "figures of every batch")
        computed_s = compute_seconds(metrics)[1]
        server.send_signal(signal.SIGTERM)  # long before the 60 s are over: what there is is written
        assert server.wait(20) == 0
    line = Trace(place.folder / f"trace-server-{server.pid}.json.gz").line("server", "main")
    batches = line.named("batch")
    assert len(batches) == status["batches"]
    assert sum(batch["args"]["rows"] for batch in batches) == status["rows"]
    assert Counter(batch["args"]["reason"] for batch in batches) == status["batch_reasons"]
    padding = sum(span["args"]["padded"] - span["args"]["rows"] for span in line.named("compute"))
    assert padding == status["padding_rows"]
    assert set(line.kinds()) == {"wait", "receive", "batch", "act", "compute", "deliver"}
    # The server counts from where a batch begins to be computed until its answers are sent: around "act" and
    # "deliver", within "batch".
    assert line.seconds("act") + line.seconds("deliver") <= computed_s <= line.seconds("batch")


def test_a_trace_is_written_while_the_process_goes_on(place: Workplace) -> None:
    address, arguments = serve(place, "300ms", free_ports(1)[0])
    with command(place, *arguments) as server, PolicyClient(address) as client:
        until_serving(address)
        path = place.folder / f"trace-server-{server.pid}.json.gz"
        row = np.zeros((1, 4), np.float32)

        def written() -> bool:
            client.infer(row)
            return path.exists()

        until(written, 20, "the trace")
        client.infer(row)
        assert server.poll() is None
        trace = Trace(path)
        (about,) = trace.other["processes"]
        assert 0.3e9 <= about["ended_ns"] - about["began_ns"] < 5e9
        assert all(about["began_ns"] <= span["ts"] * 1e3 + 1 for line in trace.lines for span in line.spans)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert [path.name for path in place.folder.glob("*trace*")] == [path.name]


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("1m", 60), ("2.5", 2.5), ("600s", 600)]
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert trace_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1s", "1h", "601", "1e2s"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="such as 10s"):
        trace_seconds(text)


@pytest.mark.long  # a whole run, with its start: 15 s
def test_a_trace_of_a_run_shows_every_process_on_one_clock(place: Workplace) -> None:
    options = ("--trace", "2s", "--set", "run.target_return=150", "--set", "learner.checkpoint_every_s=0.5")
    done = place.corral("run", "examples/cartpole.toml", *options, "--set", "evaluation.episodes=4")
    assert done.returncode == 0, done.stderr
    path = place.run_folder / "trace.json.gz"
    assert f"the trace is in {path.relative_to(place.folder)}: open it at https://ui.perfetto.dev" in done.stdout
    assert not list(place.run_folder.glob(".trace*"))
    trace = Trace(path)
    experiment = json.loads((place.run_folder / "experiment.json").read_text())
    actors = [f"actor {number}" for number in range(experiment["actor"]["processes"])]
    assert [each["process"] for each in trace.other["processes"]] == ["server", "learner", *actors, "evaluator"]

    expected = {
        ("server", "main"): {
            "wait",
            "receive",
            "batch",
            "act",
            "compute",
            "deliver",
            "collect unrolls",
            "weight swap",
        },
        ("server", "learner-link"): {"wait", "receive", "send unrolls", "take up weights", "load weights"},
        ("learner", "main"): {"wait for unrolls", "train step", "publish", "checkpoint"},
        ("learner", "unroll-source"): {"wait", "receive", "accept unrolls"},
        ("learner", "weight-publisher"): {"wait", "receive", "send weights"},
        **{(actor, "main"): {"environment step", "wait for answer"} for actor in actors},
    }
    for (process, thread), kinds in expected.items():
        assert kinds <= set(trace.line(process, thread).kinds()), (process, thread)

    # One clock: an actor that waits for an answer does so around the batch that it rides in.
    waits = [
        (span["ts"], span["ts"] + span["dur"], span["args"]["rows"])
        for actor in actors
        for span in trace.line(actor, "main").named("wait for answer")
    ]
    first = max(each["began_ns"] for each in trace.other["processes"]) / 1e3 + 1e5
    last = min(each["ended_ns"] for each in trace.other["processes"]) / 1e3 - 1e5
    batches = trace.line("server", "main").named("batch")
    within = [b for b in batches if first < b["ts"] and b["ts"] + b["dur"] < last]
    assert len(within) > 20
    for batch in within:
        # Answers leave within the batch, so that whoever waits for one begins before it and ends behind its begin.
        riding = sum(rows for began, ended, rows in waits if began < batch["ts"] < ended)
        assert riding >= batch["args"]["rows"]

    for process, thread in expected:
        # Nobody does more in two seconds than two seconds' worth, and main threads account for most of it.
        line = trace.line(process, thread)
        outer = _outer_seconds(line.spans)
        assert outer <= 2.3
        assert outer > 1.0, (process, thread)


def _outer_seconds(spans: list[dict]) -> float:
    """Seconds of spans that lie in no other."""
    total, end = 0.0, 0.0
    for span in spans:
        if span["ts"] >= end:
            total += span["dur"]
            end = span["ts"] + span["dur"]
    return total / 1e6
