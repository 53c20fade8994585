"""Plans beside what follows by hand from the figures that they are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corral.bench.closed_loop import Curve
from corral.bench.figures import read_results
from corral.bench.limits import limits
from corral.bench.planning import MOST_BUSY, Demand, RunPlan, Serving, fewest_servers, plan, serve
from corral.bench.result import Result
from corral.bench.traffic import Sizes
from corral.bench.training import Training
from corral.launch.errors import UserError
from tests.bench.test_result import result

SERVING = Serving(Curve([(1, 1_000.0), (64, 10_000.0)]), server_s=1e-4, client_s=0.0, intake_s=1e-6)
TRAINING = Training(step_s=0.01, cores=2.0, steps=512.0, unrolled_bytes=100.0, weights_bytes=1_448_000.0)
SIZES = Sizes(request=400.0, answer=200.0, unrolled=1_448.0, weights=1_448_000.0)


def planned(demand: Demand, servers: int | None = None, training: Training = TRAINING) -> RunPlan:
    return plan(demand, SERVING, training, SIZES, servers=servers)


def test_few_actors_of_slow_environments_wait_for_nobody() -> None:
    found = planned(Demand(actors=10, environments=8, think_s=0.999))
    assert found.servers == 1
    # 10 requests a second of 8 rows each; each answer takes one thousandth of that second.
    assert found.acting_per_s == pytest.approx(80.0, rel=0.001)
    assert found.wait_s == pytest.approx(0.001, rel=0.01)
    assert found.waiting == pytest.approx(0.001, rel=0.01)
    assert (found.environments, found.connections) == (80, 20)
    assert found.requests == pytest.approx(4_000, rel=0.001)
    assert found.answers == pytest.approx(2_000, rel=0.001)
    assert found.unrolls == pytest.approx(80 * (1_448 + 66), rel=0.001)
    assert found.weights == pytest.approx(80 / 512 * 1_000 * (1_448 + 66), rel=0.001)
    assert found.actor_cores == pytest.approx(10 * 0.999, rel=0.001)
    assert found.server_cores == pytest.approx(10 * 1e-4, rel=0.001)
    # A five hundredth and twelfth part of a training step of two cores for each step, and taking it in.
    assert found.learner_cores == pytest.approx(80 * (0.01 * 2 / 512 + 1e-6 / 8), rel=0.001)
    assert limits(Demand(10, 8, 0.999), SERVING, found) == []


def test_there_are_as_few_servers_as_keep_each_from_its_limit() -> None:
    demand = Demand(actors=2_000, environments=1, think_s=0.064)
    found = planned(demand)
    # 2,000 actors want 31,250 answers/s or a little less, and a server gives 8,000 at MOST_BUSY of its 10,000.
    assert found.servers == 4
    assert found.busy <= MOST_BUSY < planned(demand, 3).busy
    assert fewest_servers(Demand(2_000, 1, 10.0), SERVING) == 1
    one_at_a_time = Serving(Curve([(1, 1_000.0)]), 1e-3, 0.0, 0.0)
    assert fewest_servers(Demand(3, 1, 0.0), one_at_a_time) == 3  # busy all the same, and more would help nobody


def test_all_of_a_fleet_is_served_however_large() -> None:
    found = planned(Demand(actors=100_000, environments=16, think_s=0.064))
    requests_per_s = 100_000 / (0.064 + found.wait_s)
    assert found.acting_per_s == pytest.approx(16 * requests_per_s, rel=0.01)
    assert found.servers == pytest.approx(requests_per_s / 8_000, abs=1.5)


def test_the_learner_that_cannot_keep_up_is_named_with_by_how_much() -> None:
    demand = Demand(actors=2_000, environments=4, think_s=0.064)
    found = planned(demand)
    assert found.trained_per_s == 51_200
    assert found.steps_per_s == 51_200 < found.acting_per_s
    assert found.learner_cores == pytest.approx(2.0 + 51_200 * 1e-6 / 4)
    (first, *_) = limits(demand, SERVING, found)
    assert first.startswith("the learner is the limit: one like this machine's trains on 51,200 steps/s of ")
    assert f"it needs {found.acting_per_s / 51_200:.1f} times that" in first


def test_every_limit_says_what_to_do() -> None:
    demand = Demand(actors=40_000, environments=16, think_s=0.064, max_size=64)
    found = planned(demand, 2, Training(1e-4, 1.0, 512.0, 1e5, 1e9))
    said = " / ".join(limits(demand, SERVING, found))
    assert "2 servers are too few" in said
    assert "a larger server.batching.max_size than 64" in said
    assert "each server needs 40,064 open files" in said
    assert "learner.publish_every" in said


def test_a_timeout_holds_back_what_does_not_fill_a_batch() -> None:
    slow = Demand(actors=10, environments=1, think_s=1.0, timeout_s=0.1)
    # Alone in its batch nearly always: it waits out the timeout.
    assert serve(slow, 10, SERVING).wait_s == pytest.approx(0.101, rel=0.3)
    full = Demand(actors=10, environments=1, think_s=1.0, timeout_s=0.1, max_size=1)
    assert serve(full, 10, SERVING).wait_s == pytest.approx(0.001, rel=0.05)


def test_figures_come_from_measurements_with_as_many_rows() -> None:
    measured = [
        result(clients=1, rows=12, answers_per_s=500.0),
        result(clients=64, rows=12, answers_per_s=2_000.0, server_cpu=0.8, client_cpu=0.4, learner_cpu=0.2),
        result(clients=64, rows=1, answers_per_s=9_000.0),
        result(clients=32, rows=12, answers_per_s=1.0, think_us=5.0),
        result(clients=32, rows=12, answers_per_s=1.0, request="infer"),
    ]
    found = Serving.of(measured, 12)
    assert found.curve.points == ((1, 500.0), (64, 2_000.0))
    assert (found.server_s, found.client_s, found.intake_s) == pytest.approx((4e-4, 2e-4, 1e-4))
    with pytest.raises(ValueError, match="no measurement of STEPs of 7 rows"):
        Serving.of(measured, 7)


def test_results_are_read_from_what_bench_prints(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"results": [result(answers_per_s=5.0).as_dict() | {"later": 1}]}))
    (read,) = read_results(file)
    assert isinstance(read, Result)
    assert read.answers_per_s == 5.0
    for text in ("", "{}", '{"results": [{}]}', '{"results": 3}'):
        file.write_text(text)
        with pytest.raises(UserError, match="holds no results"):
            read_results(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "none.json")
