import sys

import keras
import numpy as np
import pytest

from corral.agents import build_agent
from corral.agents.settings import AgentSettings, NetworkSettings
from corral.protocol.specs import TensorSpec

MODULE = """
import keras
from keras.layers import Dense

def build(observation, action):
    x = keras.Input(observation["observation"].shape, name="observation")
    h = Dense(5)(x)
    return keras.Model(x, {"logits": Dense(action.num_values)(h), "value": Dense(1)(h)})

def wide(observation, action):
    x = keras.Input((4,))
    return keras.Model(x, {"logits": Dense(3)(x), "value": Dense(1)(x)})

def bare(observation, action):
    x = keras.Input((4,))
    return keras.Model(x, Dense(2)(x))

def other_inputs(observation, action):
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    return keras.Model([x, y], {"logits": Dense(2)(x), "value": Dense(1)(y)})

class Scaled(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return x * self.factor

def uncopied(observation, action):
    x = keras.Input((4,))
    return keras.Model(x, {"logits": Dense(2)(Scaled(2.0)(x)), "value": Dense(1)(x)})

class Subclassed(keras.Model):
    pass

def subclassed(observation, action):
    return Subclassed()

def nothing(observation, action):
    pass

def fails(observation, action):
    raise RuntimeError("first\\nsecond")

def takes_nothing():
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Settings with a network of one's own, by the name of a function above or of another one."""
    (tmp_path / "own_nets.py").write_text(MODULE)
    (tmp_path / "broken_nets.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    def named(build):
        return AgentSettings(network=NetworkSettings(build=build))

    yield named
    sys.modules.pop("own_nets", None)


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


def test_a_network_is_built_by_its_name(cartpole, own):
    net = build_agent(own("own_nets:build"), *cartpole).nets["policy"]
    assert net.count_params() == (4 * 5 + 5) + (5 * 2 + 2) + (5 * 1 + 1)


def test_a_model_wins_over_a_name(cartpole, own):
    mine = keras.models.clone_model(build_agent(own("own_nets:build"), *cartpole).nets["policy"])
    assert build_agent(own("nowhere:build"), *cartpole, mine).nets["policy"] is mine


def test_a_seed_draws_the_same_weights(cartpole, own):
    def drawn():
        keras.utils.set_random_seed(3)
        return build_agent(own("own_nets:build"), *cartpole).nets["policy"].get_weights()

    for one, other in zip(drawn(), drawn(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            "nowhere:build",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere'. The working directory",
        ),
        ("own_nets:no", "cannot be imported: AttributeError: module 'own_nets' has no attribute 'no'. "),
        ("broken_nets:build", "cannot be imported: ZeroDivisionError: division by zero. "),
        ("own_nets:fails", "it raised RuntimeError: first second (CORRAL_TRACEBACK=1 shows where)"),
        (
            "own_nets:takes_nothing",
            "must take (observation, action) and return a Keras model; it raised TypeError: ",
        ),
        (
            "own_nets:nothing",
            "must return a keras.Model(inputs, outputs), which knows its own inputs; it returned None",
        ),
        ("own_nets:subclassed", "which knows its own inputs; it returned a Subclassed"),
        (
            "own_nets:uncopied",
            "the server must be able to copy the network: layers of your own need a get_config()",
        ),
        ("own_nets:other_inputs", "the network's inputs are ['x', 'y'], the observation's leaves ['observation']"),
        ("own_nets:bare", 'must put out a dictionary with "logits" [batch, 2] and "value" [batch]; it puts out '),
        ("own_nets:wide", '"value" [batch]; it puts out "logits" [batch, 3], "value" [batch, 1]'),
    ],
)
def test_a_network_that_does_not_fit_is_refused_by_its_key(cartpole, own, build, text):
    with pytest.raises(ValueError, match="network") as error:
        build_agent(own(build), *cartpole)
    assert str(error.value).startswith(f"agent.network.build = '{build}': ")
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_a_network_is_not_blamed_for_the_actions(cartpole, own):
    with pytest.raises(ValueError, match=r"^no policy gives actions like"):
        build_agent(own("own_nets:build"), cartpole[0], TensorSpec((2, 2), "float32"))
