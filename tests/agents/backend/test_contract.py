"""What every backend keeps to. This file runs on the backend of its process; `test_jax.py` runs it on JAX."""

import keras
import numpy as np
import pytest

from corral.agents.backend import load_backend
from corral.agents.model import ModelAgent
from corral.agents.settings import AgentSettings, NetworkSettings, OptimizerSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec

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
    metrics = trainer.step(make_unroll(small_agent, 4))
    assert metrics["finite"] == 1.0
    assert metrics["learning_rate"] == pytest.approx(0.01)
    assert {"loss", "grad_norm", "policy_loss", "value_loss", "entropy", "rho", "kl"} < set(metrics)
    assert all(type(value) is float for value in metrics.values())
    assert not same(before, trainer.weights())
    assert trainer.steps == 1


def test_training_fits_values(small_agent, make_unroll):
    trainer, unroll = Trainer(small_agent, CONSTANT), make_unroll(small_agent, 8)
    unroll.discount[:] = 0.0
    losses = [trainer.step(unroll)["value_loss"] for _ in range(100)]
    assert losses[-1] < 0.5 * losses[0]


def test_warming_changes_nothing(small_agent, make_unroll):
    trainer = Trainer(small_agent, CONSTANT)
    before = trainer.state()
    trainer.warm(4)
    assert same(before, trainer.state())
    assert trainer.step(make_unroll(small_agent, 4))["finite"] == 1.0


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
    assert trainer.step(unroll)["finite"] == 0.0
    assert same(before, trainer.state())
    assert trainer.steps == 1


def test_the_learning_rate_follows_a_straight_line(small_agent, make_unroll):
    settings = OptimizerSettings(learning_rate=0.1, final_learning_rate=0.02, decay_steps=4)
    trainer, unroll = Trainer(small_agent, settings), make_unroll(small_agent, 2)
    rates = [trainer.step(unroll)["learning_rate"] for _ in range(6)]
    np.testing.assert_allclose(rates, [0.1, 0.08, 0.06, 0.04, 0.02, 0.02], rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
def test_gradients_are_clipped_by_their_common_norm(small_agent, make_unroll, clip_norm):
    # Plain gradient descent at rate 1 moves the weights by the gradient itself.
    settings = OptimizerSettings(name="sgd", learning_rate=1.0, clip_norm=clip_norm)
    trainer, unroll = Trainer(small_agent, settings), make_unroll(small_agent, 4)
    unroll.reward[:] *= 100
    before = trainer.weights()
    norm = trainer.step(unroll)["grad_norm"]
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
    assert ends[0] == ends[1]
    assert same(first.state(), second.state())
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
    assert trainer.step(make_unroll(small_agent, 2))["learning_rate"] == 0.25


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

    class Two:
        def __init__(self, agent):
            x = keras.Input((4,))
            self._agent, self.spec, self.published = agent, agent.spec, agent.published
            self.nets = {**agent.nets, "critic": keras.Model(x, keras.layers.Dense(1)(x))}
            self.groups = {**agent.groups, "critic": ("critic",)}

        def losses(self, call, unroll, step):
            losses, metrics = self._agent.losses(call, unroll, step)
            return {
                **losses,
                "critic": keras.ops.mean(call("critic", unroll.observation["observation"][0]) ** 2),
            }, metrics

    trainer = Trainer(Two(small_agent), CONSTANT)
    before = trainer.state()
    metrics = trainer.step(make_unroll(small_agent, 4))
    after = trainer.state()
    assert {"policy/loss", "critic/loss", "policy/grad_norm", "critic/grad_norm"} < set(metrics)
    for name in ("nets/policy/logits/kernel", "nets/critic/dense/kernel"):
        assert not np.array_equal(before[name], after[name])
    assert set(trainer.weights()) == {name.removeprefix("nets/") for name in after if "nets/policy" in name}
