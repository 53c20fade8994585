"""What training keeps to on every backend. This file runs on the backend of its process; `test_jax.py` runs it on
JAX."""

import keras
import numpy as np
import pytest

from corral.agents.agent import AgentBase, Group
from corral.agents.backend import load_backend
from corral.agents.model import ModelAgent
from corral.agents.settings import AgentSettings, NetworkSettings, OptimizerSettings
from corral.agents.vtrace import VTraceAgent
from tests.agents.backend.contract import counting_agent, inputs, same

CompiledAct, Trainer = load_backend().CompiledAct, load_backend().Trainer
CONSTANT = OptimizerSettings(learning_rate=0.01)


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


def test_a_replica_that_is_no_clone_acts_with_what_is_trained(small_agent, make_unroll):
    act, trainer = CompiledAct(small_agent, [4]), Trainer(small_agent, CONSTANT)
    before = act(*inputs(small_agent, 4))[0]["value"]
    trainer.step(make_unroll(small_agent, 2))
    assert same(act.weights(), trainer.weights())
    assert not np.array_equal(act(*inputs(small_agent, 4))[0]["value"], before)


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
