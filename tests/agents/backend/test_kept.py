"""What layers keep beside their weights, by hand, on the backend of the process."""

import keras
import numpy as np
import pytest

from corral.agents.agent import Group, Target
from corral.agents.backend import load_backend
from corral.protocol.specs import TensorSpec
from tests.agents.backend.contract import DESCENT, Counter, Pull, pulls, same

Trainer = load_backend().Trainer
ONE = {"one": Group(("one",))}


def keeping(name):
    """A net that counts how often it is called, and in training mode averages what it observes."""
    x = keras.Input((1,))
    h = Counter(name="counter")(x)
    h = keras.layers.BatchNormalization(momentum=0.5, center=False, scale=False, name="normal")(h)
    model = keras.Model(x, keras.layers.Dense(1, name="w")(h), name=name)
    model.get_layer("counter").count.assign(0.0)  # building it has called it
    return model


class Keeping(Pull):
    """Calls net and slow copy, in training mode, wherever it can."""

    def __init__(self, target=None, **spec):
        targets = {} if target is None else {"one": target}
        leaves = {"value": TensorSpec((), "float32")}
        super().__init__(ONE, targets, {"one": keeping("one")}, prepared=leaves, **spec)

    def value(self, call, name, batch):
        return call(name, batch.unroll.observation["observation"][0], training=True)[:, 0]

    def prepare(self, call, target, batch):
        value = self.value(call, "one", batch)
        for name in self.targets:
            value += self.value(target, name, batch)
        return {"value": value[None]}


def kept(trainer, side):
    """How often a net counts itself called, and the mean that it has seen."""
    state = trainer.state()
    return state[f"{side}/one/counter/count"].item(), state[f"{side}/one/normal/moving_mean"].item()


def test_warming_changes_nothing_that_layers_keep():
    trainer = Trainer(Keeping(Target(0.5)), DESCENT)
    before = trainer.state()
    before = {name: value.copy() for name, value in before.items()}
    trainer.warm(2)
    assert same(before, trainer.state())


def test_a_step_that_is_refused_changes_nothing_that_layers_keep():
    trainer = Trainer(Keeping(Target(0.5)), DESCENT)
    trainer.step(pulls(1.0, 2.0))
    before = {name: value.copy() for name, value in trainer.state().items()}
    assert trainer.step(pulls(1.0, np.nan)).metrics["finite"] == 0
    assert same(before, trainer.state())


def test_what_a_layer_keeps_is_changed_by_a_step_once_and_by_its_preparation_never():
    trainer = Trainer(Keeping(), DESCENT)
    # The first call: it sees 1 + 1; the second 1 + 2. Half of that is added to half of what was known.
    trainer.step(pulls(1.0, 1.0))
    assert kept(trainer, "nets") == (1, 1.0)
    trainer.step(pulls(1.0, 1.0))
    assert kept(trainer, "nets") == (2, 0.5 + 1.5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(0.5), [(0.5, 0.5), (1.25, 1.25)]),
        (Target(1.0), [(1, 1.0), (2, 2.0)]),
        (Target(1.0, every=2), [(0, 0.0), (2, 2.0)]),
    ],
)
def test_what_a_slow_copys_layer_keeps_follows_as_its_weights_do(target, expected):
    trainer = Trainer(Keeping(target), DESCENT)
    for each in expected:
        trainer.step(pulls(1.0, 1.0))
        assert kept(trainer, "targets") == each


def test_dropout_goes_on_from_step_to_step_and_is_put_back_where_it_is_refused():
    x = keras.Input((100,))
    model = keras.Model(x, keras.layers.Dense(1, name="w")(keras.layers.Dropout(0.5, seed=1)(x)))

    class Dropping(Pull):
        def value(self, call, name, batch):
            return call(name, batch.unroll.observation["observation"][0], training=True)[:, 0]

    trainer = Trainer(Dropping(ONE, {"one": Target(0.5)}, {"one": model}, 100), DESCENT)
    trainer.warm(1)
    unroll = pulls(0.0, observation=np.ones((1, 100)))
    seen = [trainer.step(unroll).metrics["fast/one"] for _ in range(3)]
    assert len(set(seen)) == 3
    state = {name: value.copy() for name, value in trainer.state().items()}
    bad = unroll._replace(reward=unroll.reward * np.nan)
    assert trainer.step(bad).metrics["finite"] == 0
    assert same(state, trainer.state())
    following = trainer.step(unroll).metrics["fast/one"]
    trainer.restore(state)
    assert trainer.step(unroll).metrics["fast/one"] == following
