"""What the tests of the backends' contract share: agents to call, and groups that can be trained by hand."""

from __future__ import annotations

import keras
import numpy as np

from corral.agents.agent import AgentBase, AgentSpec, Losses
from corral.agents.backend import load_backend
from corral.agents.settings import AgentSettings, OptimizerSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import TIME_SPEC, Unroll


def inputs(agent, rows, seed=0):
    """Arguments for a call of `CompiledAct`."""
    rng, spec = np.random.default_rng(seed), agent.spec
    observation = {
        name: rng.standard_normal((rows, *leaf.shape)).astype(leaf.dtype) for name, leaf in spec.observation.items()
    }
    noise = rng.random((rows, spec.noise), np.float32)
    return rows, observation, {}, np.zeros(rows, bool), noise, np.ones((rows, spec.explore), np.float32)


def same(one, other):
    assert list(one) == list(other)
    return all(np.array_equal(one[name], other[name]) for name in one)


@keras.saving.register_keras_serializable("tests")
class Counter(keras.layers.Layer):
    """Adds how often it has been called, which it keeps in a variable."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x):
        self.count.assign(self.count + 1.0)
        return x + self.count


def counting_agent():
    x = keras.Input((4,), name="observation")
    h = Counter(name="counter")(x)
    model = keras.Model(x, {"logits": keras.layers.Dense(2)(h), "value": keras.layers.Dense(1)(h)})
    model.get_layer("counter").count.assign(0.0)
    observation, action = {"observation": TensorSpec((4,), "float32")}, TensorSpec((), "int64", 0, 1)
    return VTraceAgent(AgentSettings(unroll_length=3), observation, action, model)


DESCENT = OptimizerSettings(name="sgd", learning_rate=1.0, clip_norm=0.0)
"""Moves a weight by its gradient."""


def line(columns=1):
    """A net of one weight for each number of an observation, all 1."""
    x = keras.Input((columns,))
    return keras.Model(x, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="w")(x))


class Pull(AgentBase):
    """The loss of a group is the mean, over columns, of weight * reward * what each of its nets says.

    So a net's gradient is the mean of weight * reward * observation, wherever the net is by then.
    """

    def __init__(self, groups, targets=None, nets=None, columns=1, **spec):
        self.groups, self.targets = groups, targets or {}
        self.nets = nets or {name: line(columns) for group in groups.values() for name in group.nets}
        self.published = tuple(self.nets)
        self.spec = AgentSpec(
            observation={"observation": TensorSpec((columns,), "float32")},
            action=None,
            outputs={"out": TensorSpec((), "float32")},
            state={"h": TensorSpec((), "float32")},
            **spec,
        )

    def value(self, call, name, batch):
        return call(name, batch.unroll.observation["observation"][0])[:, 0]

    def losses(self, call, target, batch):
        pull = batch.weights * batch.unroll.reward[1]
        values = {name: self.value(call, name, batch) for name in self.nets}
        groups = {
            name: sum(keras.ops.mean(pull * values[net]) for net in group.nets)
            for name, group in self.groups.items()
        }
        metrics = {f"fast/{name}": keras.ops.mean(value) for name, value in values.items()}
        for name in self.targets:
            metrics[f"slow/{name}"] = keras.ops.mean(self.value(target, name, batch))
        return Losses(groups, metrics)


def pulls(*rewards, observation=None, indices=2):
    """A batch of one column for each reward, of which each index holds it; observations are ones."""
    rewards = np.tile(np.array(rewards, np.float32), (indices, 1))
    size = rewards.shape[1]
    observation = np.ones((size, 1)) if observation is None else observation
    times = {name: leaf.zeros(indices, size) for name, leaf in TIME_SPEC.items()} | {"reward": rewards}
    return Unroll(
        {"observation": np.tile(np.array(observation, np.float32), (indices, 1, 1))},
        {"out": np.zeros((indices, size), np.float32)},
        **times,
        state={"h": np.zeros(size, np.float32)},
    )


def weight(trainer, name):
    """The one weight of "nets/..." or "targets/..."."""
    return trainer.state()[f"{name}/w/kernel"].item()


def steps_of(agent, settings=DESCENT, *, count, names, reward=1.0):
    """The weights of `names` after each of `count` steps on a column that pulls by `reward`."""
    trainer, found = load_backend().Trainer(agent, settings), []
    for _ in range(count):
        assert trainer.step(pulls(reward)).metrics["finite"] == 1.0
        found.append([weight(trainer, name) for name in names])
    return list(zip(*found, strict=True))
