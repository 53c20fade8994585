"""Acting at random until training begins, on the backend of the process."""

import numpy as np
import pytest

from corral.agents import AgentSettings, NetworkSettings, OptimizerSettings, build_agent, load_backend
from corral.agents.settings import DDPGSettings, SACSettings
from corral.protocol.specs import TensorSpec
from tests.agents.backend.sharing import BATCH, OBSERVATION, unroll
from tests.agents.tables import caller

Trainer = load_backend().Trainer
ACTION = TensorSpec((2,), "float32", np.array([-1.0, 10.0]), np.array([1.0, 30.0]))
UNIFORM = np.array([[0.25, 0.5], [0.0, 0.75]], "f4")
EVEN = [[-0.5, 20.0], [-1.0, 25.0]]
"""`UNIFORM` spread over the ranges of the two numbers, by hand."""


def agent_of(name, random_start=True):
    if name == "sac":
        table = {"sac": SACSettings(random_start=random_start)}
    else:
        table = {"ddpg": DDPGSettings(random_start=random_start)}
    settings = AgentSettings(name=name, unroll_length=6, network=NetworkSettings(hidden=(8,)), **table)
    return build_agent(settings, OBSERVATION, ACTION)


def act(agent, explore):
    outputs, _ = agent.act(
        caller(agent.nets), {"observation": np.ones((2, 4), "f4")}, agent.initial_state(2), np.zeros(2, bool),
        UNIFORM, np.array(explore, "f4")[:, None],
    )  # fmt: skip
    return np.asarray(outputs["action"])


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_actions_are_even_over_their_ranges_until_the_first_training_step(name):
    agent = agent_of(name)
    trainer = Trainer(agent, OptimizerSettings())
    trainer.warm(BATCH)
    np.testing.assert_allclose(act(agent, [1.0, 1.0]), EVEN, rtol=1e-6)
    batch = unroll(agent, 0)
    batch.reward[:] = np.nan
    assert trainer.step(batch).metrics["finite"] == 0  # nothing was learned of it
    np.testing.assert_allclose(act(agent, [1.0, 1.0]), EVEN, rtol=1e-6)
    assert trainer.step(unroll(agent, 1)).metrics["finite"] == 1
    np.testing.assert_allclose(act(agent, [1.0, 1.0]), act(agent_like(agent, name), [1.0, 1.0]), rtol=1e-6)


def agent_like(agent, name):
    """An agent of the same networks that never acts at random."""
    plain = agent_of(name, random_start=False)
    for net, model in plain.nets.items():
        model.set_weights(agent.nets[net].get_weights())
    return plain


@pytest.mark.parametrize("name", ["ddpg", "sac"])
def test_who_does_not_explore_never_acts_at_random(name):
    agent = agent_of(name)
    taken, greedy = act(agent, [1.0, 0.0]), act(agent_like(agent, name), [0.0, 0.0])
    np.testing.assert_allclose(taken, [EVEN[0], greedy[1]], rtol=1e-6)


def test_it_goes_with_the_weights_and_with_checkpoints():
    trainer = Trainer(agent_of("td3"), OptimizerSettings())
    before = {name: value.copy() for name, value in trainer.state().items()}
    assert trainer.weights()["trained/trained/begun"] == 0
    trainer.step(unroll(trainer.agent, 0))
    assert trainer.weights()["trained/trained/begun"] == 1
    after = {name: value.copy() for name, value in trainer.state().items()}
    trainer.restore(before)
    np.testing.assert_allclose(act(trainer.agent, [1.0, 1.0]), EVEN, rtol=1e-6)
    trainer.restore(after)
    assert not np.allclose(act(trainer.agent, [1.0, 1.0]), EVEN)


def test_without_it_nothing_more_is_published():
    assert agent_of("td3", random_start=False).published == ("actor",)
    assert agent_of("td3").published == ("actor", "trained")
