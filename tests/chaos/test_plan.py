from __future__ import annotations

from collections import Counter

import pytest

from corral.chaos.plan import KINDS, Injury, Plan, kinds_of
from corral.launch.errors import UserError

EVERYBODY = ("actor-0", "actor-1", "evaluator", "learner", "server")


def drawn(plan: Plan, count: int, every_s: float = 1000.0) -> list[Injury]:
    injuries = [plan.next(EVERYBODY, number * every_s) for number in range(count)]
    return [injury for injury in injuries if injury is not None]


def test_the_same_seed_draws_the_same() -> None:
    first, second, other = (Plan(seed, 5.0, KINDS, 10.0) for seed in (1, 1, 2))
    assert [first.pause_s() for _ in range(9)] == [second.pause_s() for _ in range(9)]
    injuries = drawn(first, 50)
    assert injuries == drawn(second, 50)
    assert injuries != drawn(other, 50)


def test_every_kind_finds_its_role() -> None:
    injuries = drawn(Plan(0, 5.0, KINDS, 10.0), 600)
    assert Counter(injury.kind for injury in injuries).keys() == set(KINDS)
    for injury in injuries:
        assert injury.name.partition("-")[0] == injury.role
        assert (injury.frozen_s > 0) == injury.kind.startswith("freeze")
    assert {injury.name for injury in injuries} == set(EVERYBODY) - {"evaluator"}


def test_one_freeze_in_four_outlasts_the_lease() -> None:
    frozen = [injury.frozen_s for injury in drawn(Plan(0, 5.0, kinds_of("freeze"), 10.0), 400)]
    beyond = sum(seconds > 10.0 for seconds in frozen)
    assert 60 < beyond < 140
    assert all(seconds <= 4.0 or seconds > 10.0 for seconds in frozen)


def test_pauses_have_their_mean() -> None:
    plan = Plan(0, 5.0, KINDS, 10.0)
    assert sum(plan.pause_s() for _ in range(4000)) / 4000 == pytest.approx(5.0, rel=0.1)


def test_nobody_is_killed_so_often_that_the_launcher_gives_up() -> None:
    plan = Plan(0, 1.0, kinds_of("kill-server"), 10.0)
    times = [now / 10 for now in range(3000) if plan.next(["server"], now / 10)]
    assert len(times) > 15
    for begin in times:
        assert sum(begin <= at <= begin + 60 for at in times) <= 4


def test_nobody_healthy_is_nobody_hit() -> None:
    assert Plan(0, 1.0, kinds_of("kill-server"), 10.0).next(["learner"], 0.0) is None


def test_kinds_are_named_alone_or_by_what_is_done() -> None:
    assert kinds_of("kill,freeze") == KINDS
    assert kinds_of("freeze-actor, kill-server") == ("kill-server", "freeze-actor")
    with pytest.raises(UserError, match="'stab' is none of kill, freeze, kill-actor"):
        kinds_of("kill,stab")
