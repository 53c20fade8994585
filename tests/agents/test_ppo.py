import math

import numpy as np
import pytest
from keras import ops

from corral.agents.agent import Batch
from corral.agents.ppo import PPOAgent
from corral.agents.settings import ActorCriticSettings, AgentSettings, PPOSettings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType
from tests.agents.tables import caller, losses_of, masked_spec, masked_table, rows_spec, table, unroll_of

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
ACTION = TensorSpec((), "int64", 0, 1)


def agent_of(logits, values, length, *, lambda_=1.0, normalize_advantages=False, **ppo):
    settings = AgentSettings(
        name="ppo",
        unroll_length=length,
        discount=0.5,
        actor_critic=ActorCriticSettings(
            lambda_=lambda_, entropy_cost=0.1, value_cost=0.5, normalize_advantages=normalize_advantages
        ),
        ppo=PPOSettings(**ppo),
    )
    return PPOAgent(settings, rows_spec(len(values)), ACTION, table(logits=logits, value=values))


EVEN = np.log([[0.5, 0.5]] * 4)


def test_advantages_by_hand():
    # gamma 0.5, lambda 0.5, V = 1, 2, 4, 8, rewards 1, 2, 3:
    #   delta_2 = 3 + 4 - 4 = 3;  delta_1 = 2 + 2 - 2 = 2;  delta_0 = 1 + 1 - 1 = 1
    #   A_2 = 3;  A_1 = 2 + 0.25 * 3 = 2.75;  A_0 = 1 + 0.25 * 2.75 = 1.6875;  targets V + A
    agent = agent_of(EVEN, [1, 2, 4, 8], 3, lambda_=0.5)
    unroll = unroll_of([0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1], [FIRST, MID, MID, MID])
    batch = Batch(unroll, {}, np.ones(1, "f4"), np.zeros((4, 1, 0), "f4"), ops.zeros((), "int32"))
    made = agent.prepare(caller(agent.nets), caller(agent.nets), batch)
    np.testing.assert_allclose(made["advantage"][:, 0], [1.6875, 2.75, 3.0], rtol=1e-6)
    np.testing.assert_allclose(made["target"][:, 0], [2.6875, 4.75, 7.0], rtol=1e-6)


def test_losses_by_hand_with_one_ratio_beyond_each_bound():
    # pi(1) = 0.8 at both steps; mu = 0.4: ratio 2, and 1: ratio 0.8. Clip 0.1.
    #   A = 3 at ratio 2: min(6, 1.1 * 3) = 3.3;   A = -1 at ratio 0.8: min(-0.8, -0.9) = -0.9
    agent = agent_of(np.log([[0.2, 0.8]] * 3), [1, 2, 0], 2, clip=0.1)
    unroll = unroll_of(
        [0, 1, 2], [0, 0, 0], [1, 1, 1], [FIRST, MID, MID],
        action=([1, 1, 0], "i8"), log_prob=(np.log([0.4, 1.0, 1.0]), "f4"),
    )  # fmt: skip
    prepared = {"advantage": np.array([[3.0], [-1.0]], "f4"), "target": np.array([[2.0], [5.0]], "f4")}
    losses = losses_of(agent, unroll, prepared=prepared)
    policy, value = -(3.3 - 0.9) / 2, 0.5 * (1 + 9) / 2
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert float(losses.metrics["policy_loss"]) == pytest.approx(policy, rel=1e-5)
    assert float(losses.metrics["value_loss"]) == pytest.approx(value, rel=1e-5)
    assert float(losses.metrics["clipped"]) == 1.0
    assert float(losses.groups["policy"]) == pytest.approx(policy + 0.5 * value - 0.1 * entropy, abs=1e-5)


def test_ratios_and_entropy_are_those_behind_the_mask():
    # pi is 1/2, 1/4, 1/4, and its first is ruled out: 1/2 of the second. mu gave it 0.4: the ratio is 1.25.
    logits = np.log([[0.5, 0.25, 0.25]] * 2)
    costs = ActorCriticSettings(normalize_advantages=False)
    settings = AgentSettings(name="ppo", unroll_length=1, actor_critic=costs, ppo=PPOSettings(clip=0.5))
    network = masked_table(logits=logits, value=[0, 0])
    agent = PPOAgent(settings, masked_spec(2, 3), TensorSpec((), "int64", 0, 2), network)
    unroll = unroll_of(
        [0, 1], [0, 0], [1, 1], [FIRST, MID], action=([1, 0], "i8"), log_prob=(np.log([0.4, 1.0]), "f4")
    )
    unroll.observation["action_mask"] = np.array([[[0, 1, 1]], [[1, 1, 1]]], "i1")
    prepared = {"advantage": np.array([[2.0]], "f4"), "target": np.array([[0.0]], "f4")}
    metrics = losses_of(agent, unroll, prepared=prepared).metrics
    assert float(metrics["policy_loss"]) == pytest.approx(-2.5, rel=1e-5)
    assert float(metrics["entropy"]) == pytest.approx(math.log(2), rel=1e-5)


def test_the_join_of_two_episodes_counts_for_nothing():
    agent = agent_of(EVEN, [1, 2, 3, 4], 3)

    def losses(reward, advantage):
        unroll = unroll_of(
            [0, 1, 2, 3], [0, 1, reward, 1], [1, 0, 1, 1], [FIRST, LAST, FIRST, MID],
            action=([0, 0, 1, 0], "i8"), log_prob=([math.log(0.5), 0.0, math.log(0.5), 0.0], "f4"),
        )  # fmt: skip
        prepared = {"advantage": np.array([[1.0], [advantage], [2.0]], "f4"), "target": np.zeros((3, 1), "f4")}
        return float(losses_of(agent, unroll, prepared=prepared).metrics["policy_loss"])

    assert losses(0, 0) == losses(77, 99) == pytest.approx(-1.5)


@pytest.mark.parametrize("asked", [True, None])
def test_advantages_are_normalised_over_transitions_alone(asked):
    # Of 1, 3 and a join that says 100: mean 2, deviation 1, so -1 and 1, whose ratios are 1.
    agent = agent_of(EVEN, [0, 0, 0, 0], 3, normalize_advantages=asked)
    unroll = unroll_of(
        [0, 1, 2, 3], [0, 0, 0, 0], [1, 1, 1, 1], [FIRST, LAST, FIRST, MID],
        action=([0, 0, 1, 0], "i8"), log_prob=([math.log(0.25), 0.0, math.log(0.5), 0.0], "f4"),
    )  # fmt: skip
    prepared = {"advantage": np.array([[1.0], [100.0], [3.0]], "f4"), "target": np.zeros((3, 1), "f4")}
    # The first ratio is 2, and its advantage -1: min(-2, -1.2) = -2; the other 1.
    assert float(losses_of(agent, unroll, prepared=prepared).metrics["policy_loss"]) == pytest.approx(0.5, rel=1e-5)
