import keras
import numpy as np
import pytest
from keras import ops

from corral.agents.agent import Batch
from corral.agents.r2d2 import R2D2Agent
from corral.agents.settings import AgentSettings, DQNSettings, NetworkSettings, R2D2Settings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType, Unroll
from tests.agents.tables import caller

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
OBSERVATION = {"observation": TensorSpec((3,), "float32")}
ACTION = TensorSpec((), "int64", 0, 1)
LENGTH, BATCH, BURN_IN, STEPS, GAMMA = 7, 4, 2, 3, 0.5


def agent_of(**r2d2):
    settings = AgentSettings(
        name="r2d2", unroll_length=LENGTH, discount=GAMMA, dqn=DQNSettings(n_step=STEPS),
        r2d2=R2D2Settings(**{"burn_in": BURN_IN, **r2d2}),
        network=NetworkSettings(hidden=(4,), core="lstm", core_units=5),
    )  # fmt: skip
    return R2D2Agent(settings, OBSERVATION, ACTION)


def an_unroll(agent, seed):
    rng = np.random.default_rng(seed)
    shape = (LENGTH + 1, BATCH)
    types = np.full(shape, MID, "u1")
    types[4, 0], types[5, 0] = LAST, FIRST  # ends in the middle
    types[7, 1] = LAST  # ends with the unroll
    types[1, 2], types[2, 2] = LAST, FIRST  # ends in the burn-in
    discount = np.ones(shape, "f4")
    discount[4, 0] = discount[1, 2] = 0
    return Unroll(
        {"observation": rng.normal(size=(*shape, 3)).astype("f4")},
        {"action": rng.integers(0, 2, shape)},
        rng.normal(size=shape).astype("f4"),
        discount,
        types,
        np.zeros(shape, "i8"),
        {name: rng.normal(size=(BATCH, *leaf.shape)).astype("f4") for name, leaf in agent.spec.state.items()},
    )


def h(x):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def h_inverse(x):
    return np.sign(x) * (((np.sqrt(1 + 4e-3 * (np.abs(x) + 1 + 1e-3)) - 1) / 2e-3) ** 2 - 1)


def q_step_by_step(nets, agent, unroll):
    """Q-values of every index, by the acting path."""
    state, all_q = dict(unroll.state), []
    for index in range(LENGTH + 1):
        begins = unroll.step_type[index] == FIRST
        state = {name: ops.where(begins[:, None], 0.0, leaf) for name, leaf in state.items()}
        seen = {"observation": ops.convert_to_tensor(unroll.observation["observation"][index])}
        out, state = agent._trunk.step(caller(nets), seen, state)
        all_q.append(np.asarray(agent._q(out, seen)))
    return np.stack(all_q).astype("f8")


@pytest.mark.parametrize("seed", range(3))
def test_losses_and_priorities_against_a_plain_loop(seed):
    agent, slow = agent_of(), agent_of().nets
    unroll = an_unroll(agent, seed)
    online, target = q_step_by_step(agent.nets, agent, unroll), q_step_by_step(slow, agent, unroll)
    weights = np.array([1.0, 0.5, 0.25, 1.0], "f4")
    tensors = keras.tree.map_structure(ops.convert_to_tensor, unroll)
    batch = Batch(tensors, {}, weights, np.zeros((LENGTH + 1, BATCH, 0), "f4"), ops.zeros((), "int32"))
    losses = agent.losses(caller(agent.nets), caller(slow), batch)
    loss, priorities = 0.0, []
    for b in range(BATCH):
        errors = []
        for t in range(BURN_IN, LENGTH):
            if unroll.step_type[t, b] == LAST:
                continue
            total, factor, index = 0.0, 1.0, t
            while True:
                index += 1
                total += factor * unroll.reward[index, b]
                factor *= GAMMA * unroll.discount[index, b]
                if unroll.step_type[index, b] == LAST or index == min(t + STEPS, LENGTH):
                    break
            worth = h_inverse(target[index, b, online[index, b].argmax()])
            errors.append(h(total + factor * worth) - online[t, b, unroll.output["action"][t, b]])
        sizes = np.abs(errors)
        loss += weights[b] * np.mean(np.where(sizes <= 1, 0.5 * sizes**2, sizes - 0.5)) / BATCH
        priorities.append(0.9 * sizes.max() + 0.1 * sizes.mean())
    assert float(losses.groups["q"]) == pytest.approx(loss, rel=1e-3)
    np.testing.assert_allclose(losses.priorities, priorities, rtol=2e-3)


def test_an_unroll_shares_its_burn_in_with_the_one_before():
    spec = agent_of().spec
    assert (spec.unroll_length, spec.sample_length, spec.burn_in, spec.overlap) == (LENGTH, LENGTH, 2, 3)
    assert {name: leaf.shape for name, leaf in spec.state.items()} == {"h": (5,), "c": (5,)}


def test_without_memory_it_is_refused():
    with pytest.raises(ValueError, match=r"has a memory: set agent\.network\.core"):
        R2D2Agent(AgentSettings(name="r2d2"), OBSERVATION, ACTION)


def test_a_burn_in_as_long_as_the_unroll_is_refused():
    with pytest.raises(ValueError, match=r"r2d2.burn_in must be less than unroll_length \(7\), not 7"):
        agent_of(burn_in=7)
