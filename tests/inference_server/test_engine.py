from __future__ import annotations

import threading

import numpy as np
import pytest

from inference_server.engine import Engine
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
