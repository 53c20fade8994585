"""What every backend keeps to. This file runs on the backend of its process; `test_jax.py` runs it on JAX."""

import keras
import numpy as np
import pytest

from corral.agents.agent import AgentBase, AgentSpec, Group, Losses, Target
from corral.agents.backend import load_backend
from corral.agents.model import ModelAgent
from corral.agents.settings import AgentSettings, NetworkSettings, OptimizerSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import TIME_SPEC, Unroll

CompiledAct, Trainer = load_backend().CompiledAct, load_backend().Trainer
CONSTANT = OptimizerSettings(learning_rate=0.01)


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


# Acting.


def test_compiled_act_is_act(small_agent):
    rows, observation, state, first, noise, explore = inputs(small_agent, 4)
    compiled, _ = CompiledAct(small_agent, [4])(rows, observation, state, first, noise, explore)
    plain, _ = small_agent.act(
        lambda name, *x: small_agent.nets[name](*x), observation, state, first, noise, explore
    )
    assert list(compiled) == list(small_agent.spec.outputs)
    for name, leaf in small_agent.spec.outputs.items():
        assert compiled[name].dtype.name == leaf.dtype
        np.testing.assert_allclose(compiled[name], plain[name], rtol=1e-5)


def test_a_row_is_answered_alike_in_every_bucket(small_agent):
    act = CompiledAct(small_agent, [1, 8])
    _, observation, _, first, noise, explore = inputs(small_agent, 8)
    many, _ = act(8, observation, {}, first, noise, explore)
    one, _ = act(1, {"observation": observation["observation"][:1]}, {}, first[:1], noise[:1], explore[:1])
    assert one["action"][0] == many["action"][0]
    np.testing.assert_allclose(one["log_prob"][0], many["log_prob"][0], rtol=1e-5)


def test_warming_traces_every_bucket_once_and_calls_trace_nothing(small_agent):
    act, seen = CompiledAct(small_agent, [1, 2, 4]), []
    act.warm(seen.append)
    assert seen == [1, 2, 4]
    assert act.traces == 3
    for seed in range(20):
        act(*inputs(small_agent, (1, 2, 4)[seed % 3], seed))
    act.load(act.weights())
    act.warm()
    assert act.traces == 3


def test_results_outlive_the_arrays_they_came_from(small_agent):
    act = CompiledAct(small_agent, [4])
    arguments = inputs(small_agent, 4)
    outputs, _ = act(*arguments)
    before = {name: value.copy() for name, value in outputs.items()}
    arguments[1]["observation"][:] = 9
    arguments[4][:] = 0.123
    act(*arguments)
    assert same(before, outputs)


@pytest.mark.parametrize("shape", [(4,), (4, 4)])
def test_an_input_handed_through_is_copied(shape):
    x = keras.Input(shape)
    agent = ModelAgent(keras.Model(x, {"same": keras.layers.Reshape((-1,))(x), "more": x + 1.0}))
    act = CompiledAct(agent, [64])
    memory = np.zeros(64 * 16 + 64, np.float32)
    for start in range(16):  # one of these is aligned as backends like it, and is taken uncopied
        batch = memory[start : start + 64 * int(np.prod(shape))].reshape(64, *shape)
        batch[:] = 1.0
        nothing = np.zeros((64, 0), np.float32)
        outputs, _ = act(64, {"observation": batch}, {}, np.zeros(64, bool), nothing, nothing)
        batch[:] = 5.0
        assert (outputs["same"] == 1.0).all()
        assert (outputs["more"] == 2.0).all()


def test_results_outlive_the_arrays_wherever_they_lie(small_agent):
    act, memory = CompiledAct(small_agent, [64]), np.zeros(64 * 4 + 16, np.float32)
    rows, _, state, first, noise, explore = inputs(small_agent, 64)
    expected = act(rows, {"observation": np.ones((64, 4), np.float32)}, state, first, noise, explore)[0]
    for start in range(16):  # as above
        batch = memory[start : start + 64 * 4].reshape(64, 4)
        batch[:] = 1.0
        outputs, _ = act(rows, {"observation": batch}, state, first, noise, explore)
        batch[:] = 5.0
        assert same(outputs, expected)


def test_integers_come_out_as_the_spec_says():
    x = keras.Input((), dtype="int64")
    agent = ModelAgent(keras.Model(x, {"next": x + 1, "half": keras.ops.cast(x, "float32") / 2.0}))
    nothing = np.zeros((2, 0), np.float32)
    outputs, _ = CompiledAct(agent, [2])(
        2, {"observation": np.array([5, -7])}, {}, np.zeros(2, bool), nothing, nothing
    )
    assert outputs["next"].dtype.name == agent.spec.outputs["next"].dtype
    assert outputs["next"].tolist() == [6, -6]
    assert outputs["half"].tolist() == [2.5, -3.5]


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


@pytest.mark.parametrize("clone", [False, True])
def test_what_a_layer_keeps_goes_on_from_call_to_call(clone):
    act = CompiledAct(counting_agent(), [2], clone=clone)
    act.warm()
    before = act.weights()["policy/counter/count"]
    for _ in range(3):
        act(*inputs(act.agent, 2))
    assert act.weights()["policy/counter/count"] == before + 3


def test_a_replica_that_is_no_clone_acts_with_what_is_trained(small_agent, make_unroll):
    act, trainer = CompiledAct(small_agent, [4]), Trainer(small_agent, CONSTANT)
    before = act(*inputs(small_agent, 4))[0]["value"]
    trainer.step(make_unroll(small_agent, 2))
    assert same(act.weights(), trainer.weights())
    assert not np.array_equal(act(*inputs(small_agent, 4))[0]["value"], before)


def test_a_clone_has_weights_of_its_own(small_agent):
    own, clone = CompiledAct(small_agent, [4]), CompiledAct(small_agent, [4], clone=True)
    assert own.weight_spec == clone.weight_spec
    assert same(own.weights(), clone.weights())
    clone.load({name: value + 1 for name, value in clone.weights().items()})
    assert not same(own.weights(), clone.weights())
    arguments = inputs(small_agent, 4)
    assert not np.array_equal(own(*arguments)[0]["value"], clone(*arguments)[0]["value"])
    own.load(clone.weights())
    assert same(own(*arguments)[0], clone(*arguments)[0])


def aligned(array):
    """A copy where a backend would take memory over rather than copy it."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_loaded_weights_are_copied(small_agent):
    act = CompiledAct(small_agent, [4], clone=True)
    act.load(act.weights())  # the first load compiles
    mine = {name: aligned(value) for name, value in act.weights().items()}
    act.load(mine)
    before = {name: value.copy() for name, value in mine.items()}
    for value in mine.values():
        value[...] = 7
    assert same(act.weights(), before)


def test_weight_names_do_not_depend_on_what_was_built_before():
    def network():
        x = keras.Input((4,), name="observation")
        h = keras.layers.Dense(3)(keras.layers.Dense(3)(x))
        return keras.Model(x, {"logits": keras.layers.Dense(2)(h), "value": keras.layers.Dense(1)(h)})

    observation, action = {"observation": TensorSpec((4,), "float32")}, TensorSpec((), "int64", 0, 1)
    specs = [
        CompiledAct(VTraceAgent(AgentSettings(), observation, action, network()), [1]).weight_spec for _ in range(2)
    ]
    assert specs[0] == specs[1]
    assert list(specs[0])[:3] == ["policy/dense/kernel", "policy/dense/bias", "policy/dense_1/kernel"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("policy/logits/bias"), "policy/logits/bias"),
        (lambda w: w.update(extra=np.zeros(1)), "extra"),
        (lambda w: w.update({"policy/logits/bias": np.zeros(3, "f4")}), r"\[2\].*\[3\]"),
        (lambda w: w.update({"policy/logits/bias": np.zeros(2, "f8")}), "float64"),
    ],
)
def test_weights_that_do_not_fit_are_refused_whole(small_agent, change, message):
    act = CompiledAct(small_agent, [1])
    before = act.weights()
    pushed = {name: value + 1 for name, value in before.items()}
    change(pushed)
    with pytest.raises(ValueError, match=message):
        act.load(pushed)
    assert same(act.weights(), before)


# Training.


def test_a_step_reports_its_metrics_and_changes_the_weights(small_agent, make_unroll):
    trainer = Trainer(small_agent, CONSTANT)
    before = trainer.weights()
    metrics = trainer.step(make_unroll(small_agent, 4)).metrics
    assert metrics["finite"] == 1.0
    assert metrics["learning_rate"] == pytest.approx(0.01)
    assert {"loss", "grad_norm", "policy_loss", "value_loss", "entropy", "rho", "kl"} < set(metrics)
    assert all(type(value) is float for value in metrics.values())
    assert not same(before, trainer.weights())
    assert trainer.steps == 1


def test_training_fits_values(small_agent, make_unroll):
    trainer, unroll = Trainer(small_agent, CONSTANT), make_unroll(small_agent, 8)
    unroll.discount[:] = 0.0
    losses = [trainer.step(unroll).metrics["value_loss"] for _ in range(100)]
    assert losses[-1] < 0.5 * losses[0]


def test_warming_changes_nothing(small_agent, make_unroll):
    trainer = Trainer(small_agent, CONSTANT)
    before = trainer.state()
    trainer.warm(4)
    assert same(before, trainer.state())
    assert trainer.step(make_unroll(small_agent, 4)).metrics["finite"] == 1.0


def test_what_a_layer_keeps_goes_on_from_step_to_step(make_unroll):
    trainer = Trainer(counting_agent(), CONSTANT)
    trainer.warm(2)
    before = trainer.state()["nets/policy/counter/count"].copy()
    trainer.step(make_unroll(trainer.agent, 2))
    assert trainer.state()["nets/policy/counter/count"] == before + 1


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_step_that_is_not_finite_is_refused_without_a_change(small_agent, make_unroll, number):
    trainer, unroll = Trainer(small_agent, CONSTANT), make_unroll(small_agent, 4)
    trainer.step(unroll)
    before = trainer.state()
    unroll.reward[1, 0] = number
    assert trainer.step(unroll).metrics["finite"] == 0.0
    assert same(before, trainer.state())
    assert trainer.steps == 1


def test_the_learning_rate_follows_a_straight_line(small_agent, make_unroll):
    settings = OptimizerSettings(learning_rate=0.1, final_learning_rate=0.02, decay_steps=4)
    trainer, unroll = Trainer(small_agent, settings), make_unroll(small_agent, 2)
    rates = [trainer.step(unroll).metrics["learning_rate"] for _ in range(6)]
    np.testing.assert_allclose(rates, [0.1, 0.08, 0.06, 0.04, 0.02, 0.02], rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
def test_gradients_are_clipped_by_their_common_norm(small_agent, make_unroll, clip_norm):
    # Plain gradient descent at rate 1 moves the weights by the gradient itself.
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, clip_norm=clip_norm)
    trainer, unroll = Trainer(small_agent, settings), make_unroll(small_agent, 4)
    unroll.reward[:] *= 100
    before = trainer.weights()
    norm = trainer.step(unroll).metrics["grad_norm"]
    after = trainer.weights()
    moved = np.sqrt(sum(np.sum(np.square(after[name] - before[name])) for name in before))
    assert norm > 0.5
    np.testing.assert_allclose(moved, min(norm, clip_norm) if clip_norm else norm, rtol=1e-3)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_training_goes_on_from_a_state_as_if_it_had_never_stopped(cartpole, make_unroll, name):
    def trainer():
        settings = AgentSettings(unroll_length=3, network=NetworkSettings(hidden=(8,)))
        optimizer = OptimizerSettings(name=name, learning_rate=0.01, decay_steps=10)
        return Trainer(VTraceAgent(settings, *cartpole), optimizer)

    first = trainer()
    unrolls = [make_unroll(first.agent, 2, seed) for seed in range(4)]
    for unroll in unrolls[:2]:
        first.step(unroll)
    state = first.state()
    kept = {key: value.copy() for key, value in state.items()}
    second = trainer()
    second.restore(state)
    ends = [[t.step(unroll) for unroll in unrolls[2:]] for t in (first, second)]
    # Almost: TensorFlow's threads share a sum out in another way where the machine is busy.
    for one, other in zip(*ends, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-4)
    after = second.state()
    for key, value in first.state().items():
        np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-6, err_msg=key)
    assert same(state, kept)
    assert second.steps == 4


def test_a_state_that_does_not_fit_is_refused_whole(small_agent, cartpole):
    trainer = Trainer(small_agent, CONSTANT)
    before = trainer.state()
    larger = VTraceAgent(AgentSettings(network=NetworkSettings(hidden=(9,))), *cartpole)
    with pytest.raises(ValueError, match="'nets/policy/"):
        trainer.restore(Trainer(larger, CONSTANT).state())
    with pytest.raises(ValueError, match="optimizers/policy"):
        trainer.restore(Trainer(small_agent, OptimizerSettings(name="sgd")).state())
    assert same(trainer.state(), before)


def test_a_new_learning_rate_is_kept_when_an_old_state_is_restored(small_agent, make_unroll):
    state = Trainer(small_agent, OptimizerSettings(learning_rate=0.5)).state()
    trainer = Trainer(small_agent, OptimizerSettings(learning_rate=0.25))
    trainer.restore(state)
    assert trainer.step(make_unroll(small_agent, 2)).metrics["learning_rate"] == 0.25


def test_weights_are_a_snapshot_that_a_server_can_load(small_agent, make_unroll):
    trainer = Trainer(small_agent, CONSTANT)
    weights = trainer.weights()
    assert list(weights) == list(trainer.weight_spec)
    copies = {name: value.copy() for name, value in weights.items()}
    trainer.step(make_unroll(small_agent, 2))
    assert same(weights, copies)
    with pytest.raises(ValueError, match="read-only"):
        weights["policy/logits/bias"][0] = 1
    act = CompiledAct(small_agent, [1], clone=True)
    act.load(trainer.weights())
    assert same(act.weights(), trainer.weights())


def test_unrolls_of_another_length_are_refused(small_agent, make_unroll):
    unroll = make_unroll(small_agent, 2)
    with pytest.raises(ValueError, match=r"4 indices.*not 3"):
        Trainer(small_agent, CONSTANT).step(unroll._replace(reward=unroll.reward[:3]))


def test_an_agent_that_only_predicts_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="ModelAgent has no nets to train"):
        Trainer(ModelAgent(model), CONSTANT)


def test_every_net_of_a_group_is_trained_by_its_own_loss(small_agent, make_unroll):
    """Two groups: an actor-critic as before, and a critic that only the second loss moves."""

    class Two(AgentBase):
        def __init__(self, agent):
            x = keras.Input((4,))
            self._agent, self.spec, self.published = agent, agent.spec, agent.published
            self.nets = {**agent.nets, "critic": keras.Model(x, keras.layers.Dense(1)(x))}
            self.groups = {**agent.groups, "critic": Group(("critic",))}

        def losses(self, call, target, batch):
            losses = self._agent.losses(call, target, batch)
            loss = keras.ops.mean(call("critic", batch.unroll.observation["observation"][0]) ** 2)
            return losses._replace(groups={**losses.groups, "critic": loss})

    trainer = Trainer(Two(small_agent), CONSTANT)
    before = trainer.state()
    metrics = trainer.step(make_unroll(small_agent, 4)).metrics
    after = trainer.state()
    assert {"policy/loss", "critic/loss", "policy/grad_norm", "critic/grad_norm"} < set(metrics)
    for name in ("nets/policy/logits/kernel", "nets/critic/dense/kernel"):
        assert not np.array_equal(before[name], after[name])
    assert set(trainer.weights()) == {name.removeprefix("nets/") for name in after if "nets/policy" in name}


# Slow copies, groups, minibatches: all by hand.

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
    trainer, found = Trainer(agent, settings), []
    for _ in range(count):
        assert trainer.step(pulls(reward)).metrics["finite"] == 1.0
        found.append([weight(trainer, name) for name in names])
    return list(zip(*found, strict=True))


ONE = {"one": Group(("one",))}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # The net goes from 1 to 0, -1, -2, -3.
        (Target(0.25), (0.75, 0.3125, -0.265625, -0.94921875)),  # s + (w - s) / 4
        (Target(0.5, every=2), (1, 0, 0, -1.5)),  # after steps 2 and 4: half way from 1 to -1, from 0 to -3
        (Target(1.0), (0, -1, -2, -3)),
        (Target(1.0, every=3), (1, 1, -2, -2)),
        (Target(), (0.995, 0.985025, 0.970099875, 0.950249375625)),
    ],
)
def test_a_slow_copy_follows_its_net(target, expected):
    fast, slow = steps_of(Pull(ONE, {"one": target}), count=4, names=("nets/one", "targets/one"))
    assert fast == (0, -1, -2, -3)
    assert slow == pytest.approx(expected, rel=1e-6)


def test_losses_see_the_slow_copy_as_it_was_before_the_step():
    trainer = Trainer(Pull(ONE, {"one": Target(0.25)}), DESCENT)
    seen = [trainer.step(pulls(1.0)).metrics for _ in range(3)]
    assert [each["fast/one"] for each in seen] == [1, 0, -1]
    assert [each["slow/one"] for each in seen] == [1, 0.75, 0.3125]


def test_no_gradient_and_no_publication_reaches_a_slow_copy():
    trainer = Trainer(Pull(ONE, {"one": Target(0.25)}), DESCENT)
    assert list(trainer.weights()) == ["one/w/kernel"]
    assert [name for name in trainer.state() if name.endswith("kernel")] == [
        "nets/one/w/kernel",
        "targets/one/w/kernel",
    ]


def test_a_slow_copy_begins_as_its_net_is():
    agent = Pull(ONE, {"one": Target()})
    agent.nets["one"].set_weights([np.full((1, 1), 5.0)])
    assert weight(Trainer(agent, DESCENT), "targets/one") == 5


def test_a_group_may_wait_for_its_turn():
    agent = Pull({"critic": Group(("critic",)), "actor": Group(("actor",), every=3)})
    critic, actor = steps_of(agent, count=5, names=("nets/critic", "nets/actor"))
    assert critic == (0, -1, -2, -3, -4)
    assert actor == (0, 0, 0, -1, -1)  # it takes part in the first step and in the fourth


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_the_optimizer_of_a_group_that_waits_stands_still(name):
    settings = OptimizerSettings(name=name, learning_rate=0.5)
    agent = Pull({"critic": Group(("critic",)), "actor": Group(("actor",), every=2)})
    trainer = Trainer(agent, settings)

    def of(group):
        return {key: value.tolist() for key, value in trainer.state().items() if f"optimizers/{group}/" in key}

    trainer.step(pulls(1.0))
    before = of("actor")
    trainer.step(pulls(1.0))
    assert of("actor") == before
    assert of("critic") != before
    trainer.step(pulls(1.0))
    assert of("actor") != before
    # Two steps of its own are what a group that never waits has done after two.
    (plain,) = steps_of(Pull(ONE), settings, count=2, names=("nets/one",))
    assert weight(trainer, "nets/actor") == pytest.approx(plain[-1])


def test_groups_have_learning_rates_of_their_own():
    agent = Pull({"slow": Group(("slow",), rate=0.25), "fast": Group(("fast",), rate=2.0)})
    slow, fast = steps_of(agent, count=2, names=("nets/slow", "nets/fast"))
    assert slow == (0.75, 0.5)
    assert fast == (-1, -3)


def test_a_group_decays_its_own_rate():
    settings = OptimizerSettings(
        name="sgd", learning_rate=1.0, final_learning_rate=0.5, decay_steps=2, clip_norm=0.0
    )
    (found,) = steps_of(Pull({"one": Group(("one",), rate=2.0)}), settings, count=4, names=("nets/one",))
    # Rates 2, 1.5, 1, 1.
    assert found == pytest.approx((-1, -2.5, -3.5, -4.5))


def test_a_group_of_two_nets_trains_both():
    one, two = steps_of(Pull({"both": Group(("one", "two"))}), count=2, names=("nets/one", "nets/two"))
    assert one == two == (0, -1)


def test_weights_reach_the_loss():
    trainer = Trainer(Pull(ONE), DESCENT)
    trainer.step(pulls(1.0, 2.0), np.array([3.0, 0.5], np.float32))
    assert weight(trainer, "nets/one") == 1 - (3.0 + 1.0) / 2
    trainer.step(pulls(1.0, 2.0))
    assert weight(trainer, "nets/one") == -1 - 1.5


def test_sequences_may_be_shorter_than_unrolls():
    trainer = Trainer(Pull(ONE, unroll_length=8, sample_length=2), DESCENT)
    trainer.warm(1)
    trainer.step(pulls(1.0, indices=3))
    assert weight(trainer, "nets/one") == 0
    with pytest.raises(ValueError, match=r"3 indices.*not 9"):
        trainer.step(pulls(1.0, indices=9))


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


def test_slow_copies_and_turns_go_on_from_a_state():
    def trainer():
        groups = {"one": Group(("one",), every=2), "two": Group(("two",), rate=0.5)}
        agent = Pull(groups, {"one": Target(0.25), "two": Target(1.0, every=3)}, epochs=2, minibatches=2)
        return Trainer(agent, OptimizerSettings(learning_rate=0.1, decay_steps=10))

    first, second = trainer(), trainer()
    keras.utils.set_random_seed(3)
    first.step(pulls(1.0, 2.0, 3.0, 4.0))
    state = first.state()
    second.restore(state)
    assert same(second.state(), state)
    assert weight(second, "targets/one") not in (1.0, weight(second, "nets/one"))
    ends = []
    for each in (first, second):
        keras.utils.set_random_seed(4)
        ends.append([each.step(pulls(*range(5 * k, 5 * k + 4))) for k in range(3)])
    assert ends[0] == ends[1]
    assert same(first.state(), second.state())


def test_a_state_without_the_slow_copies_is_refused():
    trainer = Trainer(Pull(ONE, {"one": Target()}), DESCENT)
    with pytest.raises(ValueError, match="targets/one/w/kernel"):
        trainer.restore(Trainer(Pull(ONE), DESCENT).state())


# What layers keep beside their weights.


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
