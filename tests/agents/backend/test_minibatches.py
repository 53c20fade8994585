"""Minibatches, epochs, preparation and noise, all by hand, on the backend of the process."""

import keras
import numpy as np
import pytest

from corral.agents.agent import Group, Losses, Target
from corral.agents.backend import load_backend
from corral.agents.settings import OptimizerSettings
from corral.protocol.specs import TensorSpec
from tests.agents.backend.contract import DESCENT, Pull, pulls, same

Trainer = load_backend().Trainer
ONE = {"one": Group(("one",))}


class Witness(Pull):
    """Tells what it is given: column `c` of the batch has `c + 1` as its reward, weight, state and prepared column,
    and observes `c` as a one-hot vector."""

    def __init__(self, columns, prepared=True, **spec):
        leaves = {"column": TensorSpec((), "int64"), "value": TensorSpec((), "float32")}
        super().__init__(ONE, {"one": Target(0.5)}, columns=columns, prepared=leaves if prepared else {}, **spec)

    def prepare(self, call, target, batch):
        value = self.value(call, "one", batch) + 10 * self.value(target, "one", batch)
        size = keras.ops.shape(batch.unroll.reward)[1]
        column = keras.ops.broadcast_to(keras.ops.arange(1, size + 1)[None], (self.spec.sample_length, size))
        return {"value": keras.ops.broadcast_to(value[None], (self.spec.sample_length, size)), "column": column}

    def losses(self, call, target, batch):
        losses = super().losses(call, target, batch)
        unroll, column = batch.unroll, batch.weights
        said = [unroll.reward[0], unroll.reward[1], unroll.state["h"]]
        said.append(keras.ops.sum(unroll.observation["observation"][1] * self.numbers, -1))
        if self.spec.prepared:
            said.append(keras.ops.cast(batch.prepared["column"][0], "float32"))
        wrong = sum(keras.ops.sum(keras.ops.abs(each - column)) for each in said)
        metrics = {**losses.metrics, "wrong": wrong}
        if self.spec.prepared:
            metrics["prepared"] = keras.ops.mean(batch.prepared["value"])
        step = keras.ops.cast(batch.step, "float32")
        return Losses(losses.groups, metrics, 100 * step + column)

    @property
    def numbers(self):
        return np.arange(1, self.spec.observation["observation"].shape[0] + 1, dtype=np.float32)

    def batch(self):
        """The unroll and the weights."""
        unroll = pulls(*self.numbers, observation=np.eye(len(self.numbers)))
        return unroll._replace(state={"h": self.numbers}), self.numbers


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (1, 3), (3, 1), (2, 2), (4, 6)])
def test_every_column_is_trained_on_once_an_epoch(epochs, minibatches, prepared):
    agent = Witness(6, prepared, epochs=epochs, minibatches=minibatches)
    trainer = Trainer(agent, DESCENT)
    trainer.warm(6)
    metrics, priorities = trainer.step(*agent.batch())
    assert metrics["wrong"] == 0  # all that belongs to a column stays with it
    assert metrics["finite"] == 1
    # Weight `c` moves by weight * reward of column `c`, over the size of a minibatch, each time.
    moved = agent.numbers**2 * epochs / (6 // minibatches)
    np.testing.assert_allclose(trainer.state()["nets/one/w/kernel"][:, 0], 1 - moved, rtol=1e-5)
    assert trainer.steps == epochs * minibatches
    # Priorities are the last epoch's, each in its own column's place; a step of its own for each minibatch.
    assert priorities.dtype == np.float32
    np.testing.assert_array_equal(priorities % 100, agent.numbers)
    steps = (priorities // 100).astype(int)
    last = range((epochs - 1) * minibatches, epochs * minibatches)
    assert sorted(steps) == sorted(list(last) * (6 // minibatches))


def test_epochs_go_through_a_batch_in_other_orders():
    agent = Witness(6, minibatches=6)
    trainer = Trainer(agent, DESCENT)
    orders = {tuple(trainer.step(*agent.batch()).priorities // 100 - 6 * step) for step in range(5)}
    assert len(orders) == 5
    assert all(sorted(order) == list(range(6)) for order in orders)


@pytest.mark.parametrize(("epochs", "minibatches"), [(1, 1), (2, 3)])
def test_the_batch_is_prepared_once_with_the_nets_as_they_were(epochs, minibatches):
    agent = Witness(6, epochs=epochs, minibatches=minibatches)
    trainer = Trainer(agent, DESCENT)
    assert trainer.step(*agent.batch()).metrics["prepared"] == 11  # 1, and 10 times the slow copy's 1
    state = trainer.state()
    fast, slow = (np.mean(state[f"{side}/one/w/kernel"]) for side in ("nets", "targets"))
    assert fast != slow
    metrics = trainer.step(*agent.batch()).metrics
    assert metrics["prepared"] == pytest.approx(fast + 10 * slow, rel=1e-5)
    assert (metrics["fast/one"] == pytest.approx(fast, rel=1e-5)) == (epochs * minibatches == 1)


def test_metrics_are_means_over_minibatches():
    agent = Witness(2, minibatches=2)
    metrics = Trainer(agent, OptimizerSettings(name="sgd", learning_rate=1e-12)).step(*agent.batch()).metrics
    assert metrics["loss"] == pytest.approx((1 * 1 + 2 * 2) / 2)


def test_a_minibatch_that_is_not_finite_leaves_the_others_their_effect():
    agent = Witness(3, minibatches=3, prepared=False)
    trainer = Trainer(agent, DESCENT)
    unroll, weights = agent.batch()
    unroll.reward[1, 1] = np.nan
    metrics, priorities = trainer.step(unroll, weights)
    assert metrics["finite"] == 0
    assert trainer.steps == 2
    np.testing.assert_array_equal(trainer.state()["nets/one/w/kernel"][:, 0], [1 - 1, 1, 1 - 9])
    np.testing.assert_array_equal(priorities % 100, agent.numbers)


def test_what_is_prepared_and_no_number_is_refused():
    class Bad(Witness):
        def prepare(self, call, target, batch):
            made = super().prepare(call, target, batch)
            return {**made, "value": made["value"] / 0.0}

        def losses(self, call, target, batch):
            losses = super().losses(call, target, batch)
            return losses._replace(groups={"one": losses.groups["one"] + keras.ops.mean(batch.prepared["value"])})

    agent = Bad(2)
    trainer = Trainer(agent, DESCENT)
    before = trainer.state()
    assert trainer.step(*agent.batch()).metrics["finite"] == 0
    assert same(before, trainer.state())


@pytest.mark.parametrize("size", [0, 4, 7])
def test_a_batch_that_cannot_be_cut_is_refused(size):
    trainer = Trainer(Pull(ONE, minibatches=3), DESCENT)
    with pytest.raises(ValueError, match=f"a batch of {size} cannot be cut into 3 minibatches of one size"):
        trainer.warm(size)
    with pytest.raises(ValueError, match=f"a batch of {size} cannot be cut into 3 minibatches of one size"):
        trainer.step(pulls(*[1.0] * size))
    assert trainer.steps == 0


def test_priorities_come_where_an_agent_gives_them():
    assert Trainer(Pull(ONE), DESCENT).step(pulls(1.0)).priorities is None
    agent = Witness(4, prepared=False)
    np.testing.assert_array_equal(Trainer(agent, DESCENT).step(*agent.batch()).priorities, agent.numbers)


@pytest.mark.parametrize("minibatches", [1, 4])
def test_noise_is_uniform_new_each_time_and_drawn_from_the_common_generator(minibatches):
    class Noisy(Pull):
        def losses(self, call, target, batch):
            losses = super().losses(call, target, batch)
            size = 1_000 // minibatches
            assert tuple(batch.noise.shape) == (4, size, 5)
            noise = batch.noise
            spread = keras.ops.mean((noise - 0.5) ** 2)
            metrics = {"mean": keras.ops.mean(noise), "spread": spread, "least": keras.ops.min(noise)}
            return Losses(losses.groups, {**metrics, "most": keras.ops.max(noise)})

    trainer = Trainer(Noisy(ONE, unroll_length=3, train_noise=5, minibatches=minibatches), DESCENT)
    unroll, names = pulls(*[0.0] * 1_000, indices=4), ("mean", "spread", "least", "most")
    keras.utils.set_random_seed(1)
    first, second = (trainer.step(unroll).metrics for _ in range(2))
    assert [first[name] for name in names] == pytest.approx([1 / 2, 1 / 12, 0, 1], abs=0.01)
    assert all(first[name] != second[name] for name in names)
    assert first["least"] >= 0
    assert first["most"] < 1
    keras.utils.set_random_seed(1)
    again = trainer.step(unroll).metrics
    assert [again[name] for name in names] == [first[name] for name in names]
