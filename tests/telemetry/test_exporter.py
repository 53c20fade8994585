"""A board over real HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from corral.telemetry import Board, Histogram
from corral.telemetry.catalogue import CATALOGUE, metrics_of
from corral.telemetry.exporter import Exporter
from tests.support.clock import Clock

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock=clock)


@pytest.fixture
def address(board: Board) -> Iterator[str]:
    with Exporter(board, "server", "127.0.0.1", 0) as exporter:
        yield exporter.address


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def shown(address: str) -> dict[tuple[str, str], float]:
    """(sample's name, its label's value) -> value, as Prometheus reads them."""
    families = text_string_to_metric_families(get(f"{address}/metrics")[1])
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_kind_of_metric(board: Board, address: str) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.5)
    board.show(
        {
            "inference_rows_total": 12,
            "inference_requests_total": {"ok": 3, "BUSY": 1},
            "weights_version": 7,
            "inference_batch_rows": histogram.snapshot(),
        }
    )
    found = shown(address)
    assert found["corral_inference_rows_total", ""] == 12
    assert found["corral_inference_requests_total", "ok"] == 3
    assert found["corral_inference_requests_total", "BUSY"] == 1
    assert found["corral_weights_version", ""] == 7
    assert [found["corral_inference_batch_rows_bucket", le] for le in ("1", "2", "+Inf")] == [0, 1, 1]
    assert found["corral_inference_batch_rows_sum", ""] == 1.5
    assert ("corral_learner_steps_total", "") not in found
    assert found["process_open_fds", ""] > 0


def test_ready_is_what_the_loop_says_while_it_says_anything(board: Board, address: str, clock: Clock) -> None:
    assert get(f"{address}/readyz") == (503, "it has not begun to work yet\n")
    board.show({}, not_ready="no weights yet")
    assert get(f"{address}/readyz") == (503, "no weights yet\n")
    board.show({})
    assert get(f"{address}/readyz") == (200, "ok\n")
    clock.now += 3.5
    assert get(f"{address}/readyz") == (503, "its loop has given no sign of life for 3.5 s\n")
    assert get(f"{address}/livez") == (200, "ok\n")
    board.show({})
    assert get(f"{address}/readyz") == (200, "ok\n")


def test_other_paths_say_which_there_are(address: str) -> None:
    code, text = get(f"{address}/nothing")
    assert code == 404
    assert "/metrics" in text


def test_names_follow_the_conventions() -> None:
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.bounds) == (metric.kind == "histogram"), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.label in ("", "outcome", "reason", "name", "replica")  # never an actor
    assert {role for role in ("server", "learner", "actor") if metrics_of(role)} == {"server", "learner", "actor"}
