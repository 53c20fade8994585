import keras
import numpy as np
import pytest
from keras import ops

from corral.agents.dqn import DQNAgent, huber
from corral.agents.settings import AgentSettings, DQNSettings, NetworkSettings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType
from tests.agents.tables import caller, losses_of, rows_spec, table, unroll_of

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
ACTION = TensorSpec((), "int64", 0, 1)
VECTOR = {"observation": TensorSpec((4,), "float32")}


def agent_of(q, steps=2, **dqn):
    settings = AgentSettings(name="dqn", unroll_length=4, discount=0.5, dqn=DQNSettings(n_step=steps, **dqn))
    return DQNAgent(settings, rows_spec(len(q)), ACTION, table(q=q))


ONLINE = [[1, 2], [3, 4], [9, 8], [0, 0]]
SLOW = {"policy": table(q=[[0, 0], [0, 0], [5, 40], [0, 0]])}


def test_the_double_target_by_hand():
    # R = 1 + 0.5 * 2 = 2; at x_2 the net prefers action 0, which the slow copy values at 5: 2 + 0.25 * 5 = 3.25.
    # Q(x_0, 1) = 2, so the error is 1.25, and Huber's loss 0.75.
    agent = agent_of(ONLINE)
    unroll = unroll_of([0, 1, 2], [0, 1, 2], [1, 1, 1], [FIRST, MID, MID], action=([1, 0, 0], "i8"))
    losses = losses_of(agent, unroll, target=SLOW)
    assert float(losses.groups["q"]) == pytest.approx(0.75)
    assert np.asarray(losses.priorities).tolist() == [1.25]


def test_without_double_the_slow_copy_chooses_too():
    # 2 + 0.25 * 40 = 12: error 10, loss 9.5
    unroll = unroll_of([0, 1, 2], [0, 1, 2], [1, 1, 1], [FIRST, MID, MID], action=([1, 0, 0], "i8"))
    assert float(losses_of(agent_of(ONLINE, double=False), unroll, target=SLOW).groups["q"]) == pytest.approx(9.5)


def test_a_terminated_episode_is_worth_its_rewards():
    # R = 1, nothing beyond: error -1 against Q(x_0, 1) = 2.
    unroll = unroll_of([0, 1, 2], [0, 1, 99], [1, 0, 1], [FIRST, LAST, FIRST], action=([1, 0, 0], "i8"))
    losses = losses_of(agent_of(ONLINE), unroll, target=SLOW)
    assert np.asarray(losses.priorities).tolist() == [1.0]


def test_a_truncated_episode_bootstraps_with_its_final_observation():
    # At x_1 the net prefers action 1, which the slow copy values at 7: 1 + 0.5 * 7 = 4.5, error 2.5.
    slow = {"policy": table(q=[[0, 0], [6, 7], [100, 100], [0, 0]])}
    unroll = unroll_of([0, 1, 2], [0, 1, 99], [1, 1, 1], [FIRST, LAST, FIRST], action=([1, 0, 0], "i8"))
    assert np.asarray(losses_of(agent_of(ONLINE), unroll, target=slow).priorities).tolist() == [2.5]


def test_weights_scale_the_loss_and_not_the_priority():
    unroll = unroll_of([0, 1, 2], [0, 1, 2], [1, 1, 1], [FIRST, MID, MID], action=([1, 0, 0], "i8"))
    losses = losses_of(agent_of(ONLINE), unroll, target=SLOW, weights=[0.5])
    assert float(losses.groups["q"]) == pytest.approx(0.375)
    assert np.asarray(losses.priorities).tolist() == [1.25]


def test_nothing_is_learned_from_the_join_of_two_episodes():
    unroll = unroll_of([0, 1, 2], [0, 1, 2], [0, 1, 1], [LAST, FIRST, MID], action=([0, 0, 0], "i8"))
    losses = losses_of(agent_of(ONLINE), unroll, target=SLOW)
    assert float(losses.groups["q"]) == 0.0
    assert np.asarray(losses.priorities).tolist() == [0.0]


def test_hubers_loss():
    np.testing.assert_allclose(huber(ops.convert_to_tensor(np.array([0.5, -1, 3], "f4"))), [0.125, 0.5, 2.5])


def act(agent, uniform, which, explore):
    noise, explore = np.array([[uniform, which]], "f4"), np.array([[explore]], "f4")
    outputs, _ = agent.act(caller(agent.nets), {"row": np.array([2], "i4")}, {}, np.zeros(1, bool), noise, explore)
    return int(np.asarray(outputs["action"])[0])


def test_exploring_is_a_chance():
    agent = agent_of(ONLINE)
    assert act(agent, 0.29, 0.9, explore=0.3) == 1  # anything: the second of two
    assert act(agent, 0.29, 0.1, explore=0.3) == 0
    assert act(agent, 0.31, 0.9, explore=0.3) == 0  # the best
    assert act(agent, 0.0, 0.9, explore=0.0) == 0


def test_the_ladder_of_exploration():
    agent = agent_of(ONLINE, epsilon=0.4, epsilon_power=7, rungs=8)
    epsilon = agent.exploration(np.array([0, 3, 7, 8]))[:, 0]
    np.testing.assert_allclose(epsilon, [0.4, 0.4**4, 0.4**8, 0.4], rtol=1e-5)
    assert agent_of(ONLINE, rungs=1).exploration(np.array([5])).tolist() == [[pytest.approx(0.4)]]


def test_a_dueling_network_is_built_and_its_values_are_told_against_their_mean():
    settings = AgentSettings(name="dqn", network=NetworkSettings(hidden=(3,)))
    agent = DQNAgent(settings, VECTOR, ACTION)
    x = np.ones((2, 4), "f4")
    out = agent.nets["policy"]({"observation": x})
    advantage, value = np.asarray(out["advantage"]), np.asarray(out["value"])
    wanted = value[:, None] + advantage - advantage.mean(1, keepdims=True)
    np.testing.assert_allclose(agent.policy()({"observation": x})["q"], wanted, rtol=1e-5, atol=1e-6)


def test_masked_actions_are_neither_chosen_nor_bootstrapped_from():
    observation = {"row": TensorSpec((), "int32", 0, 3), "action_mask": TensorSpec((2,), "int8", 0, 1)}
    row, mask = keras.Input((), dtype="int32", name="row"), keras.Input((2,), dtype="int8", name="action_mask")
    q = table(q=ONLINE)({"row": row})["q"]
    settings = AgentSettings(name="dqn", unroll_length=4, discount=0.5, dqn=DQNSettings(n_step=1))
    agent = DQNAgent(settings, observation, ACTION, keras.Model({"row": row, "action_mask": mask}, {"q": q}))
    noise, seen = (
        np.array([[0.5, 0.9]], "f4"),
        {"row": np.array([2], "i4"), "action_mask": np.array([[0, 1]], "i1")},
    )
    for explore in (0.0, 1.0):
        outputs, _ = agent.act(
            caller(agent.nets), seen, {}, np.zeros(1, bool), noise * [[1, 0]], np.array([[explore]], "f4")
        )
        assert int(np.asarray(outputs["action"])[0]) == 1
    # Of x_2 only the action worth 8 is left: 1 + 0.5 * 8 = 5 against Q(x_1, 1) = 4.
    unroll = unroll_of([1, 2], [0, 1], [1, 1], [FIRST, MID], action=([1, 0], "i8"))
    unroll.observation["action_mask"] = np.array([[[1, 1]], [[0, 1]]], "i1")
    assert np.asarray(losses_of(agent, unroll).priorities).tolist() == [1.0]
    # Cut short at x_2, whose mask allows nothing any more: it is worth its best action, 9.
    ends = unroll_of([1, 2], [0, 1], [1, 1], [FIRST, LAST], action=([1, 0], "i8"))
    ends.observation["action_mask"] = np.array([[[1, 1]], [[0, 0]]], "i1")
    assert np.asarray(losses_of(agent, ends).priorities).tolist() == [1 + 0.5 * 9 - 4]


@pytest.mark.parametrize("action", [TensorSpec((1,), "float32", -1, 1), TensorSpec((2,), "int64", 0, 1)])
def test_other_actions_are_refused(action):
    with pytest.raises(ValueError, match="dqn takes one discrete action"):
        DQNAgent(AgentSettings(name="dqn"), VECTOR, action)


def test_a_window_longer_than_an_unroll_is_refused():
    with pytest.raises(ValueError, match="n_step = 9 needs an unroll_length of 9 or more, not 4"):
        agent_of(ONLINE, steps=9)
