"""A past policy: which versions are held, for how long, and what the learner is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from corral.protocol import Spec, TensorSpec
from inference_server.hold import Hold
from inference_server.settings import Pace
from tests.support.clock import Clock


class Acting:
    """Notes what is taken up; refuses while `away`."""

    def __init__(self) -> None:
        self.epoch = self.version = 0
        self.taken: list[tuple[int, int, float]] = []
        self.away = False

    @property
    def weight_spec(self) -> Spec:
        return {"w": TensorSpec((), "float32")}

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool:
        if not self.away:
            self.taken.append((epoch, version, float(weights["w"])))
        return not self.away


def give(hold: Hold, epoch: int, version: int, value: float | None = None) -> bool:
    weights = {"w": np.float32(version if value is None else value)}
    return hold.offer(epoch, version, weights, lambda: None, 1.0)


def test_the_first_version_acts_at_once_and_the_next_when_so_many_have_come() -> None:
    acting = Acting()
    hold = Hold(acting, Pace(versions=3))
    for version in (1, 2, 3, 4, 5, 6, 8, 11, 12):
        assert give(hold, 7, version)
        assert (hold.epoch, hold.version) == (7, version)  # so that the learner goes on to the next one
    assert acting.taken == [(7, 1, 1.0), (7, 4, 4.0), (7, 8, 8.0), (7, 11, 11.0)]


def test_time_may_decide_in_place_of_versions() -> None:
    acting, clock = Acting(), Clock(0.0)
    hold = Hold(acting, Pace(versions=0, seconds=10.0), clock=clock)
    for version in (1, 2, 3, 4):
        give(hold, 7, version)
        clock.now += 6.0
    assert [version for _, version, _ in acting.taken] == [1, 3]


def test_another_beginning_is_taken_up_at_once() -> None:
    acting = Acting()
    hold = Hold(acting, Pace(versions=100, pool=5))
    give(hold, 7, 50)
    give(hold, 8, 20)
    assert acting.taken == [(7, 50, 50.0), (8, 20, 20.0)]
    # One that goes on from a checkpoint behind the held version is none.
    give(hold, 9, 60)
    assert len(acting.taken) == 2


def test_what_was_not_taken_up_is_due_again() -> None:
    acting = Acting()
    hold = Hold(acting, Pace(versions=3))
    give(hold, 7, 1)
    acting.away = True
    assert not give(hold, 7, 4)
    assert (hold.epoch, hold.version) == (7, 1)
    acting.away = False
    assert give(hold, 7, 4)
    assert acting.taken[-1] == (7, 4, 4.0)


def test_a_pool_keeps_the_last_few_and_one_of_them_acts() -> None:
    acting = Acting()
    hold = Hold(acting, Pace(versions=2, pool=3), seed=1)
    kept = np.zeros((), np.float32)
    for version in range(1, 400):
        kept[...] = version
        hold.offer(7, version, {"w": kept}, lambda: None, 1.0)  # the same memory every time, as a message's may be
    assert len(acting.taken) == 200
    ages = []
    for index, (_, version, value) in enumerate(acting.taken):
        newest = 1 + 2 * index
        assert value == version
        assert version % 2 == 1
        ages.append((newest - version) // 2)
    assert set(ages) == {0, 1, 2}
    assert min(ages.count(age) for age in (0, 1, 2)) > 40


@pytest.mark.parametrize("pool", [1, 4])
def test_no_version_leads_the_learner(pool: int) -> None:
    acting = Acting()
    hold = Hold(acting, Pace(versions=5, pool=pool), seed=3)
    for version in range(1, 100):
        give(hold, 7, version)
        assert acting.taken[-1][1] <= version
