import math

import keras
import numpy as np
import pytest

from corral.agents.ddpg import DDPGAgent, TD3Agent
from corral.agents.settings import AgentSettings, DDPGSettings, NetworkSettings, TD3Settings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType
from tests.agents.tables import caller, losses_of, rows_spec, table, unroll_of

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
ACTION = TensorSpec((1,), "float32", -2.0, 2.0)
VECTOR = {"observation": TensorSpec((3,), "float32")}


def critic(values, slope):
    """q = value of the row + slope * action."""
    row, action = keras.Input((), dtype="int32", name="row"), keras.Input((1,), name="action")
    q = table(q=values)({"row": row})["q"] + slope * action
    return keras.Model({"row": row, "action": action}, {"q": q})


def nets(means, values, slope):
    return {"actor": table(mean=np.arctanh(np.array(means))[:, None]), "critic": critic(values, slope)}


def ddpg(means, values, slope, steps=2, **settings):
    settings = AgentSettings(
        name="ddpg", unroll_length=4, discount=0.5, ddpg=DDPGSettings(n_step=steps, **settings)
    )
    return DDPGAgent(settings, rows_spec(len(means)), ACTION, nets(means, values, slope))


def test_losses_by_hand():
    # The slow copies: the actor does 0.5 at x_2, worth 10 + 2 * 0.5 = 11. Target 1 + 0.5 * 2 + 0.25 * 11 = 4.75.
    # The action 1.0 of -2 to 2 is 0.5 within; Q(x_0, 0.5) = 3 + 4 * 0.5 = 5: error -0.25, squared 0.0625.
    # The actor does -0.25 at x_0, worth 3 - 1 = 2.
    agent = ddpg([-0.25, 0, 0.9], [3, 0, 7], 4.0)
    slow = nets([0, 0, 0.5], [0, 0, 10], 2.0)
    unroll = unroll_of([0, 1, 2], [0, 1, 2], [1, 1, 1], [FIRST, MID, MID], action=([[1.0], [0], [0]], "f4"))
    losses = losses_of(agent, unroll, target=slow)
    assert float(losses.groups["critic"]) == pytest.approx(0.0625, rel=1e-4)
    assert float(losses.groups["actor"]) == pytest.approx(-2.0, rel=1e-5)
    np.testing.assert_allclose(losses.priorities, [0.25], rtol=1e-4)


def test_the_end_of_an_episode_and_the_join_behind_it():
    agent = ddpg([0.0, 0, 0], [3, 0, 7], 4.0)
    ended = unroll_of([0, 1, 2], [0, 1, 9], [1, 0, 1], [FIRST, LAST, FIRST], action=([[0.0], [0], [0]], "f4"))
    assert float(losses_of(agent, ended).groups["critic"]) == pytest.approx(4.0)  # (1 - 3)^2
    join = unroll_of([0, 1, 2], [0, 1, 9], [0, 1, 1], [LAST, FIRST, MID], action=([[0.0], [0], [0]], "f4"))
    losses = losses_of(agent, join)
    assert float(losses.groups["critic"]) == float(losses.groups["actor"]) == 0.0


def act(agent, uniform, explore=1.0, state=None):
    outputs, state = agent.act(
        caller(agent.nets), {"row": np.array([0], "i4")}, state or agent.initial_state(1), np.zeros(1, bool),
        np.array([[uniform]], "f4"), np.array([[explore]], "f4"),
    )  # fmt: skip
    return float(np.asarray(outputs["action"])[0, 0]), state


def test_gaussian_exploration_by_hand():
    agent = ddpg([0.25], [0], 1.0, sigma=0.1)
    # One deviation up, of 0.1 within -1 to 1: 0.35, times 2.
    up = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert act(agent, up)[0] == pytest.approx(0.7, abs=1e-4)
    assert act(agent, up, explore=0.5)[0] == pytest.approx(0.6, abs=1e-4)
    assert act(agent, up, explore=0.0)[0] == pytest.approx(0.5, abs=1e-6)


def test_noise_never_passes_the_bounds():
    assert act(ddpg([0.99], [0], 1.0, sigma=5.0), 0.999)[0] == 2.0


def test_ornstein_uhlenbeck_noise_drifts_and_returns():
    agent = ddpg([0.0], [0], 1.0, noise="ornstein_uhlenbeck", sigma=0.2, theta=0.25)
    up = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    first, state = act(agent, up)  # 0.75 * 0 + 0.2
    second, state = act(agent, 0.5, state=state)  # 0.75 * 0.2
    third, _ = act(agent, up, state=state)  # 0.75 * 0.15 + 0.2
    np.testing.assert_allclose([first, second, third], [0.4, 0.3, 2 * 0.3125], atol=1e-3)


def test_the_greedy_policy_is_a_model_of_its_own():
    agent = ddpg([0.25, -0.5], [0, 0], 1.0)
    action = agent.policy()({"row": np.array([0, 1], "i4")})["action"]
    np.testing.assert_allclose(action, [[0.5], [-1.0]], rtol=1e-5)


# TD3.


def td3(means, values, slopes):
    settings = AgentSettings(
        name="td3", unroll_length=4, discount=0.5, td3=TD3Settings(smoothing=0.2, smoothing_clip=0.1)
    )
    agent = TD3Agent(settings, rows_spec(len(means)), ACTION, nets(means, values, slopes[0]))
    agent.nets = {**agent.nets, "critic_1": critic(values, slopes[0]), "critic_2": critic(values, slopes[1])}
    return agent


def test_td3_takes_the_lesser_critic_at_a_blurred_action():
    # Three deviations of 0.2 are cut to 0.1: the slow actor's 0.5 becomes 0.6. The critics say 10 + 0.6 and
    # 10 - 0.6: target 1 + 0.5 * 9.4 = 5.7. At (x_0, 0) both say 3: errors 2.7, twice squared.
    agent = td3([-0.25, 0.5], [3, 10], (1.0, -1.0))
    unroll = unroll_of([0, 1], [0, 1], [1, 1], [FIRST, MID], action=([[0.0], [0]], "f4"))
    three_up = 0.5 * (1 + math.erf(3 / math.sqrt(2)))
    losses = losses_of(agent, unroll, noise=three_up)
    assert float(losses.groups["critic"]) == pytest.approx(2 * 2.7**2, rel=1e-4)
    assert float(losses.groups["actor"]) == pytest.approx(-2.75, rel=1e-4)  # the first critic: 3 - 0.25


def test_td3_trains_its_actor_late_and_its_critics_alike():
    settings = AgentSettings(name="td3", td3=TD3Settings(delay=3), network=NetworkSettings(hidden=(4,)))
    agent = TD3Agent(settings, VECTOR, ACTION)
    assert agent.groups["actor"].every == 3
    assert agent.groups["critic"].nets == ("critic_1", "critic_2")
    assert {target.every for target in agent.targets.values()} == {3}
    one, other = (agent.nets[name].get_weights()[0] for name in ("critic_1", "critic_2"))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("action", [TensorSpec((), "int64", 0, 1), TensorSpec((1,), "float32")])
def test_actions_without_bounds_are_refused(action):
    with pytest.raises(ValueError, match="ddpg takes a vector of numbers, each with both bounds"):
        DDPGAgent(AgentSettings(name="ddpg"), VECTOR, action)


def test_one_network_alone_is_refused():
    with pytest.raises(ValueError, match=r'returns \{"actor": ..., "critic": ...\}'):
        DDPGAgent(AgentSettings(name="ddpg"), rows_spec(1), ACTION, table(mean=[[0]]))
