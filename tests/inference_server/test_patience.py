"""The timeout that is learned: never much worse than none, and better where waiting pays. Simulated, not timed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from inference_server.patience import LADDER_US, BatchCost, Comparison, Patience
from tests.support.closed_loop import Load, Outcome, Simulation, Think, rows_per_s

MS, US = 1e-3, 1e-6


def about(mean_s: float) -> Think:
    """Half to one and a half of `mean_s`."""
    return lambda random, now: mean_s * random.uniform(0.5, 1.5)


def exponential(mean_s: float) -> Think:
    return lambda random, now: random.expovariate(1 / mean_s)


def always(seconds: float) -> Think:
    return lambda random, now: seconds


def sometimes(usual: Think, seldom: Think, share: float) -> Think:
    return lambda random, now: (seldom if random.random() < share else usual)(random, now)


def then(before: Think, after: Think, change_s: float) -> Think:
    return lambda random, now: (before if now < change_s else after)(random, now)


def in_bursts(period_s: float, spread_s: float) -> Think:
    """Everybody at the same moment, once in a period."""
    return lambda random, now: period_s - now % period_s + random.uniform(0, spread_s)


def heavy_tailed(random: Random, now: float) -> float:
    return 2 * MS * random.lognormvariate(0, 1.5)


NEVER = always(1e9)

# One process, one core: environments stand still while the server computes, as with everything on one machine.
TRAINING = Load([about(1 * MS)] * 4, 0.4 * MS, 4 * US, rows=12, max_size=48, known=True, shared=1.0)

NOTHING_TO_WIN = {
    "no time between rows": Load([always(0)] * 32, 0.3 * MS, 10 * US),
    "steady": Load([about(5 * MS)] * 48, 0.8 * MS, 22 * US),
    "in step": Load([always(5 * MS)] * 32, 2 * MS, 5 * US),
    "fast model": Load([about(5 * MS)] * 24, 0.15 * MS, 3 * US),
    "slow environments": Load([about(200 * MS)] * 64, 1 * MS, 1 * US),
    "by chance": Load([exponential(5 * MS)] * 16, 2 * MS, 1 * US, max_size=16),
    "heavy tails and noise": Load([heavy_tailed] * 32, 0.5 * MS, 5 * US, jitter=0.5),
    "every row costs the same": Load([about(5 * MS)] * 24, 0.02 * MS, 60 * US),
    "bursts of many": Load([in_bursts(10 * MS, 0.3 * MS)] * 32, 1 * MS, 5 * US),
    "bursts of four": Load([in_bursts(10 * MS, 0.1 * MS)] * 4, 1 * MS, 5 * US),
    "stragglers": Load([sometimes(about(5 * MS), always(50 * MS), 0.02)] * 32, 2 * MS, 5 * US),
    "all speeds": Load(
        [*[about(1 * MS)] * 8, *[about(10 * MS)] * 16, *[exponential(30 * MS)] * 8], 1.5 * MS, 3 * US
    ),
    "one actor": Load([about(5 * MS)], 1 * MS, 1 * US),
    "training elsewhere": Load([about(0.5 * MS)] * 4, 0.4 * MS, 4 * US, rows=12, max_size=48, known=True),
    "pauses": Load([lambda random, now: 5 * MS if now % 1 < 0.5 else 1 - now % 1] * 32, 2 * MS, 5 * US),
}
WAITING_WINS = {
    "training on shared cores": (TRAINING, 1600),
    "a slow actor on shared cores": (
        Load([*[about(1 * MS)] * 3, about(20 * MS)], 0.4 * MS, 4 * US, rows=12, max_size=48, known=True, shared=1),
        800,
    ),
    "64 rows cost what one does": (Load([about(0.5 * MS)] * 64, 2 * MS, 5 * US), 400),
    "an accelerator far away": (Load([about(0.5 * MS)] * 8, 5 * MS, 1 * US, max_size=8), 800),
    "one timeout and no other": (Load([about(1 * MS)] * 32, 3 * MS, 5 * US), 1600),
}
CHANGES = {
    "one dies": Load(
        [*[about(0.3 * MS)] * 3, then(about(0.3 * MS), NEVER, 3)], 1 * MS, 4 * US, rows=12, max_size=48, known=True
    ),
    "one dies on shared cores": Load(
        [*[about(1 * MS)] * 3, then(about(1 * MS), NEVER, 3)],
        0.4 * MS, 4 * US, rows=12, max_size=48, known=True, shared=1.0,
    ),
    "no longer worth it": Load([then(about(0.5 * MS), about(5 * MS), 3)] * 64, 2 * MS, 5 * US),
    "worth it from now on": Load([then(about(5 * MS), about(0.5 * MS), 3)] * 64, 2 * MS, 5 * US),
    "back and forth": Load(
        [lambda random, now: (5 if int(now) % 2 else 0.5) * MS * random.uniform(0.5, 1.5)] * 64, 2 * MS, 5 * US
    ),
}  # fmt: skip


@pytest.mark.parametrize("load", [*NOTHING_TO_WIN.values(), *CHANGES.values()], ids=[*NOTHING_TO_WIN, *CHANGES])
def test_it_is_never_much_worse_than_not_to_wait(load: Load) -> None:
    assert rows_per_s(load, "auto", 6) >= 0.97 * rows_per_s(load, 0, 6)


@pytest.mark.parametrize(("load", "best_us"), WAITING_WINS.values(), ids=WAITING_WINS)
def test_it_wins_where_waiting_wins(load: Load, best_us: int) -> None:
    auto, without, best = (rows_per_s(load, timeout, 6) for timeout in ("auto", 0, best_us))
    assert best > 1.05 * without, "nothing to win here"
    assert auto > 0.9 * best
    assert auto > without + 0.5 * (best - without)


def test_a_very_slow_model_is_learned_too_in_minutes() -> None:
    load = Load([about(20 * MS)] * 16, 150 * MS, 0)
    assert rows_per_s(load, "auto", 200) > 1.2 * rows_per_s(load, 0, 200)


@pytest.mark.parametrize("seed", range(3))
def test_its_first_seconds_cost_little_too(seed: int) -> None:
    load = Load([about(10 * MS)] * 16, 1.5 * MS, 3 * US, seed=seed)
    assert rows_per_s(load, "auto", 2) >= 0.97 * rows_per_s(load, 0, 2)


def test_a_dead_actor_is_waited_for_only_briefly() -> None:
    load = CHANGES["one dies"]
    waited = Simulation(load, 1600).run(6)
    learned = Simulation(load, "auto").run(6)
    assert learned.rows > 1.1 * waited.rows
    assert last_choice(learned) < 800


def test_losers_are_tried_ever_more_seldom() -> None:
    outcome = Simulation(Load([about(5 * MS)] * 8, 2 * MS, 1 * US), "auto").run(300)
    trials = [begun for begun, stood in outcome.timeouts if stood]
    early, late = (sum(low <= begun < low + 100 for begun in trials) for low in (0, 200))
    assert 0 < late < early / 3


def test_nobody_waits_before_anything_was_learned() -> None:
    load = Load([about(1 * MS)] * 8, 5 * MS, 1 * US)
    assert Simulation(load, "auto").run(0.1).timeouts == [(0.0, 0)]


def test_seldom_requests_are_no_reason_to_try() -> None:
    patience = Patience(0.0)
    for n in range(1, 500):
        patience.arrived(n * 0.5)
        patience.computed(1, 2 * MS, n * 0.5 + 2 * MS)
        assert patience.timeout_us == 0


def last_choice(outcome: Outcome) -> int:
    """The timeout that stood longest at the end."""
    late = [(begun, stood) for begun, stood in outcome.timeouts if begun > outcome.seconds - 2]
    ends = [begun for begun, _ in late[1:]] + [outcome.seconds]
    return max(((end - begun, stood) for (begun, stood), end in zip(late, ends, strict=True)))[1]


def fitted(cost: Callable[[int], float], sizes: list[int], batches: int = 500) -> BatchCost:
    found = BatchCost()
    random = Random(0)
    for _ in range(batches):
        rows = random.choice(sizes)
        found.add(rows, cost(rows))
    return found


def test_cost_is_split_into_fixed_and_per_row() -> None:
    cost = fitted(lambda rows: 1 * MS + 20 * US * rows, [1, 8, 16, 64])
    assert cost.fixed == pytest.approx(1 * MS, rel=0.01)
    assert cost.per_row == pytest.approx(20 * US, rel=0.01)
    assert cost.expected(32) == pytest.approx(1.64 * MS, rel=0.01)


def test_cost_of_batches_that_are_all_alike_is_fixed() -> None:
    cost = fitted(lambda rows: 2 * MS, [32])
    assert (cost.fixed, cost.per_row) == (pytest.approx(2 * MS), 0)


def test_an_outlier_hardly_moves_the_cost() -> None:
    cost = fitted(lambda rows: 1 * MS + 20 * US * rows, [1, 8, 16, 64])
    cost.add(8, 10.0)
    assert cost.expected(8) < 1.3 * (1 * MS + 160 * US)


def test_cost_follows_another_model() -> None:
    cost = fitted(lambda rows: 1 * MS, [1, 64])
    for rows in [1, 64] * 1000:
        cost.add(rows, 10 * MS)
    assert cost.fixed == pytest.approx(10 * MS, rel=0.05)


def test_the_longer_wait_bears_the_burden_of_proof() -> None:
    def after(ratios: list[float]) -> bool | None:
        comparison = Comparison()
        for ratio in ratios:
            comparison.add(1000 * ratio, 1000)
        return comparison.longer_wins(2.5)

    assert after([2.0]) is None, "one pair tells nothing"
    assert after([1.2] * 3) is True
    assert after([0.9] * 2) is False
    assert after([1.0] * 8) is False, "as fast, but later"
    assert after([1.2, 0.9, 1.3, 0.8]) is None
    assert after([1.3, 0.8] * 12) is False, "never clear"


def test_the_ladder_begins_with_not_to_wait() -> None:
    assert LADDER_US[:3] == (0, 50, 100)
    assert list(LADDER_US) == sorted(set(LADDER_US))
