import math
from dataclasses import fields

import keras
import numpy as np
import pytest
from keras import ops

from corral.agents.agent import Batch
from corral.agents.settings import ActorCriticSettings, AgentSettings, VTraceSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType
from tests.agents import tables
from tests.agents.conftest import gradient_of
from tests.agents.tables import caller, rows_spec, table

OBSERVATION = {"observation": TensorSpec((4,), "float32")}
ACTION = TensorSpec((), "int64", 0, 1)
COSTS = {each.name for each in fields(ActorCriticSettings)}


def act(agent, rows, uniform=0.5, explore=1.0):
    noise, explore = np.full((len(rows), 1), uniform, "f4"), np.full((len(rows), 1), explore, "f4")
    first = np.zeros(len(rows), bool)
    outputs, state = agent.act(caller(agent.nets), {"row": np.array(rows, "i4")}, {}, first, noise, explore)
    assert state == {}
    return {name: np.asarray(value) for name, value in outputs.items()}


def table_agent(logits, values, length=3, lowest=0, **settings):
    width = len(logits[0])
    action = TensorSpec((), "int64", lowest, lowest + width - 1)
    costs = ActorCriticSettings(**{key: settings.pop(key) for key in list(settings) if key in COSTS})
    clips = VTraceSettings(**{key: settings.pop(key) for key in list(settings) if key.startswith("clip_")})
    settings = AgentSettings(unroll_length=length, actor_critic=costs, vtrace=clips, **settings)
    return VTraceAgent(settings, rows_spec(len(values)), action, table(logits=logits, value=values))


def test_outputs_have_the_spec_they_promise(small_agent):
    noise = np.full((5, 1), 0.5, np.float32)
    observation = {"observation": np.zeros((5, 4), np.float32)}
    outputs, _ = small_agent.act(caller(small_agent.nets), observation, {}, np.ones(5, bool), noise, noise)
    assert list(outputs) == list(small_agent.spec.outputs) == ["action", "log_prob", "value"]
    for name, leaf in small_agent.spec.outputs.items():
        assert outputs[name].dtype == ops.zeros((), leaf.dtype).dtype  # as near as the backend comes to it
        assert tuple(outputs[name].shape) == (5, *leaf.shape)


def test_act_samples_and_tells_the_probability_of_what_it_did():
    agent = table_agent(np.log([[0.25, 0.75], [0.9, 0.1]]), [5, 6])
    out = act(agent, [0, 1], uniform=0.3)  # 0.3 lies beyond 0.25, and within 0.9
    assert out["action"].tolist() == [1, 0]
    np.testing.assert_allclose(out["log_prob"], np.log([0.75, 0.9]), rtol=1e-5)
    np.testing.assert_allclose(out["value"], [5, 6], rtol=1e-6)


def test_explore_zero_is_greedy_with_certainty():
    agent = table_agent(np.log([[0.49, 0.51], [0.51, 0.49]]), [0, 0])
    for uniform in (0.0, 0.5, 0.999):
        out = act(agent, [0, 1], uniform, explore=0.0)
        assert out["action"].tolist() == [1, 0]
        np.testing.assert_allclose(out["log_prob"], [0, 0], atol=1e-6)


def test_explore_between_is_a_temperature():
    # At temperature 0.5 the odds 1 : 3 become 1 : 9.
    agent = table_agent(np.log([[0.25, 0.75]]), [0])
    out = act(agent, [0], uniform=0.2, explore=0.5)
    np.testing.assert_allclose(out["log_prob"], [math.log(0.9)], rtol=1e-5)


def test_the_greedy_policy_is_a_model_of_its_own():
    agent = table_agent(np.log([[0.49, 0.51], [0.51, 0.49]]), [5, 6], lowest=3)
    out = agent.policy()({"row": np.array([0, 1], "i4")})
    assert np.asarray(out["action"]).tolist() == [4, 3]
    np.testing.assert_allclose(np.asarray(out["value"])[:, 0], [5, 6], rtol=1e-6)


def test_actions_begin_where_the_spec_says():
    agent = table_agent(np.log([[0.25, 0.75]]), [0], lowest=-4)
    assert act(agent, [0], uniform=0.1)["action"].tolist() == [-4]
    assert act(agent, [0], uniform=0.9)["action"].tolist() == [-3]


def unroll_of(rows, actions, log_probs, rewards, discounts, types):
    outputs = {"action": (actions, "i8"), "log_prob": (log_probs, "f4"), "value": (np.zeros(len(rows)), "f4")}
    return tables.unroll_of(rows, rewards, discounts, types, **outputs)


def losses_of(agent, unroll, step=0):
    batch = Batch(unroll, {}, None, None, ops.convert_to_tensor(step, "int64"))
    losses = agent.losses(caller(agent.nets), None, batch)
    return {name: float(value) for name, value in {**losses.groups, **losses.metrics}.items()}


FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST


ON_POLICY = unroll_of(
    rows=[0, 1, 2, 3],
    actions=[0, 0, 1, 0],
    log_probs=[math.log(0.25), 0.0, math.log(0.5), 0.0],
    rewards=[0, 3, 0, 5],
    discounts=[1, 0, 1, 1],
    types=[FIRST, LAST, FIRST, MID],
)
LOGITS = np.log([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5], [0.3, 0.7]])


def test_losses_by_hand():
    # x_0 FIRST, x_1 LAST (terminated), x_2 FIRST, x_3 MID; gamma 0.5, V = 1, 100, 2, 4.
    # Transitions 0 -> 1 and 2 -> 3 count, 1 -> 2 joins. On policy, so every ratio is 1.
    #   v_0 = r_1 + 0 = 3, A_0 = 3 - 1 = 2;  v_2 = r_3 + 0.5 * 4 = 7, A_2 = 7 - 2 = 5
    #   policy loss = -(2 log 0.25 + 5 log 0.5) / 2
    #   value loss  = 0.5 * (2^2 + 5^2) / 2 = 7.25
    #   entropy     = (H(0.25) + H(0.5)) / 2
    agent = table_agent(LOGITS, [1, 100, 2, 4], discount=0.5, value_cost=0.5, entropy_cost=0.1)
    policy_loss = -(2 * math.log(0.25) + 5 * math.log(0.5)) / 2
    entropy = (-0.25 * math.log(0.25) - 0.75 * math.log(0.75) + math.log(2)) / 2
    got = losses_of(agent, ON_POLICY)
    assert got["policy_loss"] == pytest.approx(policy_loss, rel=1e-5)
    assert got["value_loss"] == pytest.approx(7.25, rel=1e-5)
    assert got["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert got["policy"] == pytest.approx(policy_loss + 0.5 * 7.25 - 0.1 * entropy, rel=1e-5)
    assert got["rho"] == pytest.approx(1.0, rel=1e-5)
    assert got["kl"] == pytest.approx(0.0, abs=1e-5)


def test_a_masked_policy_acts_and_learns_by_the_same_probabilities():
    # Three actions of 1/2, 1/4, 1/4 everywhere. At x_0 the first is ruled out: 1/2 each; at x_1 the last: 2/3, 1/3.
    # x_2 is LAST, and its mask allows nothing. gamma 0.5, V = 1, 2, 9.
    #   v_1 = 4, A_1 = 4 - 2 = 2;  v_0 = 3 + 0.5 * 4 = 5, A_0 = 5 - 1 = 4
    logits = np.log([[0.5, 0.25, 0.25]] * 3)
    settings = AgentSettings(unroll_length=2, discount=0.5)
    network = tables.masked_table(logits=logits, value=[1, 2, 9])
    agent = VTraceAgent(settings, tables.masked_spec(3, 3), TensorSpec((), "int64", 0, 2), network)
    masks = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0]], "i1")
    seen = {"row": np.array([0, 1], "i4"), "action_mask": masks[:2]}
    ones = np.ones((2, 1), "f4")
    for uniform, actions, probabilities in ((0.49, [1, 0], [1 / 2, 2 / 3]), (0.99, [2, 1], [1 / 2, 1 / 3])):
        done, _ = agent.act(caller(agent.nets), seen, {}, np.zeros(2, bool), uniform * ones, ones)
        assert np.asarray(done["action"]).tolist() == actions
        np.testing.assert_allclose(done["log_prob"], np.log(probabilities), rtol=1e-5)
    done = [1, 0, 0]
    unroll = unroll_of([0, 1, 2], done, np.log([1 / 2, 2 / 3, 1]), [0, 3, 4], [1, 1, 0], [FIRST, MID, LAST])
    unroll.observation["action_mask"] = masks[:, None]
    got = losses_of(agent, unroll)
    assert got["rho"] == pytest.approx(1.0, rel=1e-5)
    assert got["kl"] == pytest.approx(0.0, abs=1e-5)
    assert got["policy_loss"] == pytest.approx(-(4 * math.log(1 / 2) + 2 * math.log(2 / 3)) / 2, rel=1e-5)
    assert got["entropy"] == pytest.approx((math.log(2) + math.log(3) - 2 / 3 * math.log(2)) / 2, rel=1e-5)


def test_a_truncated_end_bootstraps_its_own_value():
    # As above, but truncated: v_0 = 3 + 0.5 * V(x_1) = 53, A_0 = 52.
    agent = table_agent(np.zeros((4, 2)), [1, 100, 2, 4], discount=0.5)
    unroll = unroll_of([0, 1, 2, 3], [0] * 4, [math.log(0.5)] * 4, [0, 3, 0, 5], [1] * 4, [FIRST, LAST, FIRST, MID])
    assert losses_of(agent, unroll)["value_loss"] == pytest.approx(0.5 * (52**2 + 5**2) / 2, rel=1e-5)


def test_ratio_is_learner_over_behaviour():
    # Behaviour took action 0 with probability 0.5; the learner gives it 0.25: ratio 0.5.
    #   v_0 - V = 0.5 (3 + 0 - 1) = 1, value loss 0.5; A_0 = 1, policy loss -log 0.25
    agent = table_agent(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 100], length=1)
    unroll = unroll_of([0, 1], [0, 0], [math.log(0.5), 0.0], [0, 3], [1, 0], [FIRST, LAST])
    got = losses_of(agent, unroll)
    assert got["rho"] == pytest.approx(0.5, rel=1e-5)
    assert got["value_loss"] == pytest.approx(0.5, rel=1e-5)
    assert got["policy_loss"] == pytest.approx(-math.log(0.25), rel=1e-5)
    assert got["kl"] == pytest.approx(0.5 - 1 - math.log(0.5), rel=1e-4)


@pytest.mark.parametrize("name", ["vtrace", "a2c"])
def test_advantages_are_normalised_where_asked_over_transitions_alone(name):
    # 2 and 5, as above, and a join: mean 3.5, deviation 1.5, so -1 and 1. What values should be stays as it is.
    agent = table_agent(LOGITS, [1, 100, 2, 4], discount=0.5, name=name, normalize_advantages=True)
    got = losses_of(agent, ON_POLICY)
    assert got["policy_loss"] == pytest.approx((math.log(0.25) - math.log(0.5)) / 2, rel=1e-5)
    assert got["value_loss"] == pytest.approx(7.25, rel=1e-5)


def test_what_stands_at_a_join_changes_nothing():
    agent = table_agent(LOGITS, [1, 2, 3, 4])
    shared = {"rows": [0, 1, 2, 3], "discounts": [1, 1, 1, 1], "types": [FIRST, LAST, FIRST, MID]}
    quiet = unroll_of(actions=[0, 0, 1, 0], log_probs=[-1, 0, -1, 0], rewards=[0, 3, 0, 5], **shared)
    loud = unroll_of(actions=[0, 1, 1, 1], log_probs=[-1, -1e4, -1, 9], rewards=[7, 3, 9e3, 5], **shared)
    assert losses_of(agent, quiet) == losses_of(agent, loud)


def test_no_transition_at_all_is_a_loss_of_zero():
    agent = table_agent(np.zeros((2, 2)), [1, 2], length=1)
    unroll = unroll_of([0, 1], [0, 0], [0, 0], [0, 1], [1, 1], [LAST, FIRST])
    assert losses_of(agent, unroll)["policy"] == 0.0


def test_rewards_are_clipped_and_then_scaled_where_asked():
    # V = 0 and the episode terminates, so the value loss is half the square of the reward: 50 -> 2 -> 6.
    agent = table_agent(np.zeros((2, 2)), [0, 0], length=1, reward_clip=2.0, reward_scale=3.0)
    unroll = unroll_of([0, 1], [0, 0], [math.log(0.5)] * 2, [0, 50], [1, 0], [FIRST, LAST])
    assert losses_of(agent, unroll)["value_loss"] == pytest.approx(18.0, rel=1e-5)


def test_entropy_cost_declines_in_a_straight_line():
    agent = table_agent(
        np.zeros((2, 2)), [0, 0], length=1, entropy_cost=0.4, final_entropy_cost=0.2, entropy_decay_steps=100
    )
    unroll = unroll_of([0, 1], [0, 0], [math.log(0.5)] * 2, [0, 0], [1, 0], [FIRST, LAST])
    for step, cost in [(0, 0.4), (50, 0.3), (100, 0.2), (1000, 0.2)]:
        assert losses_of(agent, unroll, step)["policy"] == pytest.approx(-cost * math.log(2), rel=1e-4)


def test_targets_and_ratios_carry_no_gradient(small_agent, make_unroll):
    unroll, net = make_unroll(small_agent, 2), small_agent.nets["policy"]

    def moves(metric, layer):
        def value():
            batch = Batch(unroll, {}, None, None, ops.zeros((), "int32"))
            return small_agent.losses(caller(small_agent.nets), None, batch).metrics[metric]

        return bool(np.any(gradient_of(value, net.get_layer(layer).kernel)))

    assert not moves("policy_loss", "value")
    assert not moves("value_loss", "logits")
    assert moves("policy_loss", "logits")
    assert moves("value_loss", "value")


@pytest.mark.parametrize(
    "action",
    [TensorSpec((2, 2), "float32", -1.0, 1.0), TensorSpec((), "int64")],
)
def test_actions_that_no_policy_gives_are_refused(action):
    with pytest.raises(ValueError, match="no policy gives actions like"):
        VTraceAgent(AgentSettings(), OBSERVATION, action)


def network(**heads):
    x = keras.Input((4,), name="observation")
    made = {name: keras.layers.Dense(width)(x) for name, width in heads.items()}
    return keras.Model({"observation": x}, made)


def test_what_else_a_network_puts_out_is_put_out():
    agent = VTraceAgent(AgentSettings(), OBSERVATION, ACTION, network(logits=2, value=1, feeling=3))
    assert list(agent.spec.outputs) == ["action", "log_prob", "value", "feeling"]
    assert agent.spec.outputs["feeling"] == TensorSpec((3,), "float32")
    noise = np.zeros((5, 1), np.float32)
    out, _ = agent.act(
        caller(agent.nets), {"observation": np.ones((5, 4), "f4")}, {}, np.zeros(5, bool), noise, noise + 1
    )
    assert list(out) == list(agent.spec.outputs)
    assert tuple(out["feeling"].shape) == (5, 3)
    assert tuple(out["value"].shape) == (5,)


@pytest.mark.parametrize(
    ("heads", "got"),
    [
        ({"value": 1}, r'"value" \[batch, 1\]'),
        ({"logits": 2}, r'"logits" \[batch, 2\]'),
        ({"logits": 3, "value": 1}, r'"logits" \[batch, 3\]'),
        ({"logits": 2, "value": 2}, r'"value" \[batch, 2\]'),
        ({"logits": 2, "value": 1, "action": 1}, "action"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_what_it_gave(heads, got):
    with pytest.raises(ValueError, match=got):
        VTraceAgent(AgentSettings(), OBSERVATION, ACTION, network(**heads))


def test_a_network_without_names_is_refused():
    x = keras.Input((4,), name="observation")
    with pytest.raises(ValueError, match=r'expected|"logits" \[batch, 2\]'):
        VTraceAgent(AgentSettings(), OBSERVATION, ACTION, keras.Model(x, keras.layers.Dense(2)(x)))


def test_a_network_of_other_inputs_is_refused():
    x = keras.Input((5,), name="observation")
    wrong = keras.Model(x, {"logits": keras.layers.Dense(2)(x), "value": keras.layers.Dense(1)(x)})
    with pytest.raises(ValueError, match=r"4"):
        VTraceAgent(AgentSettings(), OBSERVATION, ACTION, wrong)


def test_subclassed_networks_are_welcome(make_unroll):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.logits, self.value = keras.layers.Dense(2), keras.layers.Dense(1)

        def call(self, x):
            return {"logits": self.logits(x), "value": self.value(x)}

    agent = VTraceAgent(AgentSettings(unroll_length=3), OBSERVATION, ACTION, Mine())
    losses = agent.losses(caller(agent.nets), None, Batch(make_unroll(agent, 2), {}, None, None, 0))
    assert np.isfinite(float(losses.groups["policy"]))
