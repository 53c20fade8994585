import math

import keras
import numpy as np
import pytest

from corral.agents.sac import SACAgent
from corral.agents.settings import AgentSettings, NetworkSettings, SACSettings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType
from tests.agents.tables import caller, losses_of, rows_spec, table, unroll_of
from tests.agents.test_ddpg import critic

FIRST, MID = StepType.FIRST, StepType.MID
ACTION = TensorSpec((1,), "float32", -1.0, 1.0)
VECTOR = {"observation": TensorSpec((3,), "float32")}
UP = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
"""The uniform number whose normal quantile is 1."""


def agent_of(temperature=0.5, **sac):
    settings = AgentSettings(
        name="sac", unroll_length=4, discount=0.5,
        sac=SACSettings(initial_temperature=temperature, **sac),
    )  # fmt: skip
    actor = table(mean=[[0.1], [-0.3]], log_std=[[math.log(0.5)], [math.log(0.2)]])
    agent = SACAgent(settings, rows_spec(2), ACTION, {"actor": actor, "critic": critic([3, 10], 1.0)})
    agent.nets = {**agent.nets, "critic_1": critic([3, 10], 1.0), "critic_2": critic([3, 10], -1.0)}
    return agent


def log_prob(u, mean, sigma):
    normal = -0.5 * ((u - mean) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return normal - math.log(1 - math.tanh(u) ** 2)


def test_losses_by_hand():
    agent = agent_of(temperature=0.5)
    unroll = unroll_of([0, 1], [0, 1], [1, 1], [FIRST, MID], action=([[0.25], [0]], "f4"))
    losses = losses_of(agent, unroll, noise=UP)
    # x_1: u = -0.3 + 0.2; the lesser critic; less what its surprise costs.
    u = -0.1
    soft = 10 - abs(math.tanh(u)) - 0.5 * log_prob(u, -0.3, 0.2)
    goal = 1 + 0.5 * soft
    assert float(losses.groups["critic"]) == pytest.approx((goal - 3.25) ** 2 + (goal - 2.75) ** 2, rel=1e-3)
    # x_0: u = 0.1 + 0.5
    u = 0.6
    surprise = log_prob(u, 0.1, 0.5)
    assert float(losses.groups["actor"]) == pytest.approx(0.5 * surprise - (3 - math.tanh(u)), rel=1e-3)
    # The temperature falls while there is more entropy than the target of -1.
    assert float(losses.groups["temperature"]) == pytest.approx((-surprise + 1) * math.log(0.5), rel=1e-3)
    assert float(losses.metrics["temperature"]) == pytest.approx(0.5, rel=1e-5)


def test_a_fixed_temperature_counts_as_much_and_is_not_trained():
    agent, fixed = agent_of(temperature=0.5), agent_of(temperature=0.5, adapt_temperature=False)
    unroll = unroll_of([0, 1], [0, 1], [1, 1], [FIRST, MID], action=([[0.25], [0]], "f4"))
    losses, of_fixed = (losses_of(one, unroll, noise=UP) for one in (agent, fixed))
    assert set(fixed.groups) == set(of_fixed.groups) == {"actor", "critic"}
    for group in ("actor", "critic"):
        assert float(of_fixed.groups[group]) == float(losses.groups[group])
    assert float(of_fixed.metrics["temperature"]) == pytest.approx(0.5, rel=1e-5)


def test_exploring_is_a_sample_and_greedy_the_mean():
    agent = agent_of()
    for explore, u in ((1.0, 0.6), (0.5, 0.35), (0.0, 0.1)):
        outputs, _ = agent.act(
            caller(agent.nets), {"row": np.array([0], "i4")}, {}, np.zeros(1, bool),
            np.array([[UP]], "f4"), np.array([[explore]], "f4"),
        )  # fmt: skip
        assert float(np.asarray(outputs["action"])[0, 0]) == pytest.approx(math.tanh(u), abs=1e-4)


def test_only_the_actor_is_published():
    settings = AgentSettings(name="sac", network=NetworkSettings(hidden=(4,), normalize=True))
    agent = SACAgent(settings, VECTOR, ACTION)
    assert agent.published == ("norm", "actor")
    assert set(agent.groups) == {"actor", "critic", "temperature"}
    assert set(agent.targets) == {"critic_1", "critic_2"}
    out = agent.policy()({"observation": np.zeros((2, 3), "f4")})
    assert tuple(out["action"].shape) == (2, 1)
    assert isinstance(agent.policy(), keras.Model)
