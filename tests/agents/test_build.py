import keras

from corral.agents import build_agent
from corral.agents.settings import AgentSettings, NetworkSettings


def test_settings_become_the_agent_they_name(cartpole):
    settings = AgentSettings(unroll_length=5, network=NetworkSettings(hidden=(3,)))
    agent = build_agent(settings, *cartpole)
    assert type(agent).__name__ == "VTraceAgent"
    assert agent.spec.unroll_length == 5
    assert agent.published == ("policy",)
    assert agent.nets["policy"].count_params() == (4 * 3 + 3) + (3 * 2 + 2) + (3 * 1 + 1)


def test_a_network_of_ones_own_is_used(cartpole):
    x = keras.Input((4,), name="observation")
    mine = keras.Model(x, {"logits": keras.layers.Dense(2)(x), "value": keras.layers.Dense(1)(x)})
    assert build_agent(AgentSettings(), *cartpole, mine).nets["policy"] is mine
