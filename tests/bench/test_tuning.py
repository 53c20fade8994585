"""What is measured for an experiment; no processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from corral.bench.arrivals import BusyLoop
from corral.bench.think import Think
from corral.bench.tuning import buckets, load_of, settings, sizes
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, load_experiment

CARTPOLE = Path(__file__).parents[2] / "examples" / "cartpole.toml"
BATCHING = "server.batching"


def experiment(*overrides: str) -> Experiment:
    return load_experiment(CARTPOLE, overrides, environ={})


def test_clients_are_the_experiments_actors() -> None:
    load = load_of(experiment(), Think(step_s=250e-6, computing=1.0, steps=10), busy=False)
    assert (load.request, load.clients, load.rows, load.think_us, load.busy) == ("step", 4, 12, 250.0, False)
    assert 1 <= load.processes <= 4
    assert load_of(experiment(), Think(1e-3, 1.0, 10), busy=True).processes == 4


def test_of_several_servers_the_fullest_is_measured() -> None:
    shared = experiment("servers=3")
    assert load_of(shared, Think(1e-3, 1.0, 10), busy=True).clients == 2
    assert sizes(shared) == [24, 48]


def test_a_step_of_minutes_is_refused() -> None:
    with pytest.raises(UserError, match="CartPole-v1 cannot be played by clients: think_us must be"):
        load_of(experiment(), Think(step_s=100.0, computing=1.0, steps=1), busy=False)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ((), [48]),
        ((f"{BATCHING}.max_size=256",), [48, 256]),
        ((f"{BATCHING}.max_size=16",), [16, 48]),
        ((f"{BATCHING}.max_size=8",), [48]),
        ((f"{BATCHING}.max_size=32", f"{BATCHING}.buckets=[8, 32]"), [32]),
        (("actor.processes=1000", "actor.environments=100"), [48]),
    ],
)
def test_sizes(overrides: tuple[str, ...], wanted: list[int]) -> None:
    assert sizes(experiment(*overrides)) == wanted


def test_every_timeout_is_measured_with_every_size_once() -> None:
    tried = settings(experiment(f"{BATCHING}.max_size=64"), [500, 0, 500])
    assert [(each.max_size, each.timeout_us) for each in tried] == [(48, 0), (48, 500), (64, 0), (64, 500)]


def test_buckets_are_those_that_the_size_would_have_in_the_file() -> None:
    usual = experiment(f"{BATCHING}.max_size=64")
    assert buckets(usual, 64) == (1, 2, 4, 8, 16, 32, 64)
    assert buckets(usual, 48) == (1, 2, 4, 8, 16, 32, 48)
    own = experiment(f"{BATCHING}.max_size=32", f"{BATCHING}.buckets=[8, 32]")
    assert buckets(own, 32) == (8, 32)


def test_a_busy_client_computes_before_it_asks_again() -> None:
    arrivals = BusyLoop(1, think_s=0.01, seed=0)
    assert arrivals.due(5.0) == (0, 5.0)
    assert arrivals.due(5.0) is None
    before, now = time.thread_time(), time.monotonic()
    due = arrivals.answered(0, now)
    assert due is not None
    assert due >= now + 0.005
    assert time.thread_time() >= before + 0.005
