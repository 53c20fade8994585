from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from inference_server.engine import Engine
from inference_server.replica import Inputs, Task
from tests.support.processes import until
from tests.support.scripted_agent import ScriptedAgent


@pytest.fixture
def engine() -> Engine:
    engine = Engine(ScriptedAgent(), (1, 2, 4, 8), learns=True)
    engine.warm()
    return engine


def act(engine: Engine, rows: int) -> np.ndarray:
    observation = {"observation": np.arange(32, dtype=np.int64).reshape(8, 4)}
    state = {"seen": np.zeros(8, np.int32)}
    first, noise = np.ones(8, bool), np.zeros((8, 0), np.float32)
    outputs, next_state = engine.act(rows, observation, state, first, noise, np.zeros((8, 1), np.float32))
    np.testing.assert_array_equal(outputs["echo"], observation["observation"][:rows])
    assert next_state["seen"].tolist() == [1] * rows
    return outputs["stamp"]


def offer(engine: Engine, version: int) -> threading.Thread:
    weights = engine.agent.weights(version)
    woken = threading.Event()
    thread = threading.Thread(target=engine.offer, args=(1, version, weights, woken.set, 10))
    thread.start()
    assert woken.wait(10)
    return thread


def test_rows_are_padded_up_to_the_next_bucket(engine: Engine) -> None:
    assert [engine.padded(rows) for rows in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]


def test_fewer_buckets_pad_further_and_what_is_larger_still_fits(engine: Engine) -> None:
    traces = engine.traces
    engine.use_buckets((2, 4))
    assert [engine.padded(rows) for rows in range(1, 9)] == [2, 2, 4, 4, 8, 8, 8, 8]
    for rows in range(1, 9):
        act(engine, rows)
    engine.use_buckets(engine.buckets)
    assert [engine.padded(rows) for rows in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]
    assert engine.traces == traces


def test_no_number_of_rows_meets_a_compile(engine: Engine) -> None:
    traces = engine.traces
    for rows in range(1, 9):
        assert act(engine, rows).shape == (rows,)
    thread = offer(engine, 1)
    engine.flip()
    thread.join(10)
    for rows in range(1, 9):
        act(engine, rows)
    assert engine.traces == traces


def test_warming_tells_how_far_it_is() -> None:
    seen: list[tuple[int, int]] = []
    Engine(ScriptedAgent(), (1, 2), learns=True).warm(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_it_is_not_ready_before_the_first_weights(engine: Engine) -> None:
    assert not engine.ready
    thread = offer(engine, 1)
    assert not engine.ready
    assert engine.flip()
    thread.join(10)
    assert engine.ready
    assert (engine.epoch, engine.version) == (1, 1)


def test_without_a_learner_it_is_ready_as_built() -> None:
    assert Engine(ScriptedAgent(), (1,), learns=False).ready


def test_weights_act_after_the_flip_and_not_before(engine: Engine) -> None:
    for version in range(1, 6):
        before = act(engine, 3)
        thread = offer(engine, version)
        np.testing.assert_array_equal(act(engine, 3), before)
        assert engine.flip()
        thread.join(10)
        assert act(engine, 3).tolist() == [version] * 3
    assert not engine.flip()


def test_weights_that_nobody_takes_are_withdrawn(engine: Engine) -> None:
    assert not engine.offer(1, 1, engine.agent.weights(1), lambda: None, timeout_s=0.01)
    assert not engine.flip()
    assert engine.version == 0


def test_closing_lets_go_whoever_waits_for_a_flip(engine: Engine) -> None:
    thread = offer(engine, 1)
    engine.close()
    thread.join(5)
    assert not thread.is_alive()
    assert not engine.flip()
    assert not engine.offer(1, 2, engine.agent.weights(2), lambda: None, timeout_s=60)


# Several replicas.


class Gate:
    """Stands before a set of weights: a call waits until the gate is opened."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.open.wait(20)
        return self._compiled(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)


@pytest.fixture
def pair() -> Iterator[Engine]:
    engine = Engine(ScriptedAgent(), (1, 2, 4, 8), learns=True, replicas=2)
    engine.warm()
    thread = offer(engine, 1)
    engine.flip()
    thread.join(10)
    yield engine
    engine.close()


def gated(engine: Engine) -> list[Gate]:
    """A gate before each replica's set of weights that acts now."""
    gates = []
    for replica in engine.replicas:
        acts = [each.weights()["policy/stamp/kernel"].item() == engine.version for each in replica.sets].index(True)
        gates.append(Gate(replica.sets[acts]))
        replica.sets = tuple(gates[-1] if place == acts else each for place, each in enumerate(replica.sets))
    return gates


def task(rows: int, finish: Callable[[Task], None]) -> Task:
    observation = {"observation": np.arange(32, dtype=np.int64).reshape(8, 4) + rows}
    nothing, state = np.zeros((8, 0), np.float32), {"seen": np.zeros(8, np.int32)}
    return Task(rows, Inputs(observation, state, np.ones(8, bool), nothing, np.zeros((8, 1), np.float32)), finish)


def test_replicas_compute_side_by_side_and_each_gives_its_own(pair: Engine) -> None:
    gates, done = gated(pair), []
    for rows in (2, 3):
        assert pair.is_free
        assert not pair.begin(task(rows, done.append))
    assert not pair.is_free
    for gate in gates:
        assert gate.entered.wait(20)  # both at once
    pair.collect()
    assert not done
    for gate in gates:
        gate.open.set()
    until(lambda: pair.collect(0.1) or len(done) == 2, what="both tasks")
    for each in done:
        expected = np.arange(32).reshape(8, 4)[: each.rows] + each.rows
        np.testing.assert_array_equal(each.outputs["echo"], expected)
        assert each.outputs["stamp"].tolist() == [1] * each.rows
    assert pair.is_free
    assert all(replica.busy_s > 0 for replica in pair.replicas)


def test_what_begins_after_a_flip_acts_with_the_new_version_and_what_is_under_way_goes_on(
    pair: Engine,
) -> None:
    gates, done = gated(pair), []
    pair.begin(task(1, done.append))
    until(lambda: any(gate.entered.is_set() for gate in gates), what="the first task")
    thread = offer(pair, 2)
    pair.flip()
    thread.join(10)
    pair.begin(task(2, done.append))
    until(lambda: pair.collect(0.1) or len(done) == 1, what="the second task")
    assert (done[0].rows, done[0].version, done[0].outputs["stamp"].tolist()) == (2, 2, [2, 2])
    # The next version has to wait: the set that it would be loaded into is in use.
    assert not pair.offer(1, 3, pair.agent.weights(3), lambda: None, timeout_s=0.05)
    for gate in gates:
        gate.open.set()
    until(lambda: pair.collect(0.1) or len(done) == 2, what="the first task")
    assert (done[1].version, done[1].outputs["stamp"].tolist()) == (1, [1])
    thread = offer(pair, 3)
    assert pair.flip()
    thread.join(10)
    assert act(pair, 3).tolist() == [3, 3, 3]


def test_a_failure_is_the_tasks_and_the_replica_goes_on(pair: Engine) -> None:
    done: list[Task] = []
    broken = task(2, done.append)
    broken.inputs.observation.clear()
    pair.begin(broken)
    until(lambda: pair.collect(0.1) or len(done) == 1, what="the task")
    assert isinstance(done[0].error, KeyError)
    for _ in range(4):
        pair.begin(task(1, done.append))
        until(lambda: pair.collect(0.1) or pair.under_way == 0, what="the task")
    assert [each.error for each in done[1:]] == [None] * 4


def test_closing_ends_the_threads_of_replicas() -> None:
    before = set(threading.enumerate())  # others' threads may end meanwhile
    engine = Engine(ScriptedAgent(), (1,), learns=False, replicas=3)
    own = set(threading.enumerate()) - before
    assert sorted(thread.name for thread in own) == ["replica 0", "replica 1", "replica 2"]
    engine.close()
    until(lambda: not any(thread.is_alive() for thread in own), what="the threads' ends")


def test_as_many_replicas_as_accelerators_or_one() -> None:
    engine = Engine(ScriptedAgent(), (1,), learns=False, replicas="auto")  # nobody tests this on an accelerator
    assert len(engine.replicas) == 1
