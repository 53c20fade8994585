"""Acting in another precision: how far it may be off, what stays exact, what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from corral.agents import AgentSettings, NetworkSettings, VTraceAgent, load_backend
from corral.agents.backend.precision import PrecisionError, cast_net
from corral.protocol.specs import TensorSpec

CompiledAct = load_backend().CompiledAct
ROWS = 64
UNIT = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
"""The most that rounding to a precision changes a number, as a part of it."""
ROUNDINGS = 8
"""As many of these, of the largest logit or value of a batch, is any logit or value off at most."""

OBSERVATIONS = {"cartpole": TensorSpec((4,), "float32"), "atari": TensorSpec((84, 84, 4), "uint8")}
NETWORKS = {
    "cartpole": NetworkSettings(hidden=(64, 64), activation="tanh"),
    "atari": NetworkSettings(torso="nature_cnn", hidden=()),
    "lstm": NetworkSettings(hidden=(64,), core="lstm", core_units=32),
    "gru": NetworkSettings(hidden=(64,), core="gru", core_units=32),
    "normalized": NetworkSettings(hidden=(64,), normalize=True),
}


def agent_of(name: str) -> VTraceAgent:
    """An agent with the network of an example, its logits spread as a trained one's."""
    observation = OBSERVATIONS.get(name, OBSERVATIONS["cartpole"])
    settings = AgentSettings(unroll_length=3, network=NETWORKS[name])
    agent = VTraceAgent(settings, {"observation": observation}, TensorSpec((), "int64", 0, 5))
    for net in agent.nets.values():
        for variable in net.trainable_variables:
            if variable.path.endswith("logits/kernel"):
                variable.assign(100.0 * variable.value)  # it begins with a gain of 0.01
    return agent


def call(act, explore: float, seed: int = 0):
    """Outputs and next state for random observations and states."""
    rng, spec = np.random.default_rng(seed), act.agent.spec
    leaf = spec.observation["observation"]
    rows = (ROWS, *leaf.shape)
    seen = rng.integers(0, 256, rows) if leaf.dtype == "uint8" else rng.standard_normal(rows)
    state = {name: rng.uniform(-1, 1, (ROWS, *each.shape)).astype("f4") for name, each in spec.state.items()}
    noise = rng.random((ROWS, spec.noise), np.float32)
    first, explored = np.zeros(ROWS, bool), np.full((ROWS, spec.explore), explore, np.float32)
    return act(ROWS, {"observation": seen.astype(leaf.dtype)}, state, first, noise, explored)


@pytest.mark.parametrize("precision", UNIT)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_off_by_a_few_roundings_at_most(name, precision):
    agent = agent_of(name)
    exact, rough = (CompiledAct(agent, [ROWS], clone=True, precision=each) for each in ("float32", precision))
    assert rough.weight_spec == exact.weight_spec
    changed = []
    for seed in range(4):
        (one, state), (other, rough_state) = (call(act, 0.0, seed) for act in (exact, rough))
        for name_, leaf in {**agent.spec.outputs, **agent.spec.state}.items():
            assert (other | rough_state)[name_].dtype == leaf.dtype
        off = np.abs(other["value"] - one["value"]).max() / np.abs(one["value"]).max()
        assert 0 < off < ROUNDINGS * UNIT[precision]
        for leaf in state:
            assert np.abs(rough_state[leaf] - state[leaf]).max() < ROUNDINGS * UNIT[precision]
        changed.append(np.mean(one["action"] != other["action"]))
    # Six nearly equal logits at random: a trained policy's choices are clearer.
    assert np.mean(changed) < 64 * UNIT[precision]


@pytest.mark.parametrize("precision", UNIT)
def test_log_probabilities_are_those_of_the_distribution_that_was_drawn_from(precision):
    x = keras.Input((4,), name="observation")
    h = keras.layers.Dense(64, "tanh")(x)
    logits = keras.layers.Dense(6)(h)
    # Whoever computes them anew, uncompiled, rounds in other places.
    network = keras.Model(x, {"logits": logits, "value": keras.layers.Dense(1)(h), "shown": logits})
    observation = {"observation": OBSERVATIONS["cartpole"]}
    agent = VTraceAgent(AgentSettings(unroll_length=3), observation, TensorSpec((), "int64", 0, 5), network)
    act = CompiledAct(agent, [ROWS], precision=precision)
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((ROWS, 4)).astype("f4")
    noise = rng.random((ROWS, 1), np.float32)
    outputs, _ = act(ROWS, {"observation": seen}, {}, np.zeros(ROWS, bool), noise, np.ones((ROWS, 1), np.float32))
    logits = outputs["shown"].astype(np.float64)
    rounded = logits.astype(np.float32).view(np.uint32) << (16 if precision == "bfloat16" else 19)
    assert not (rounded & 0xFFFFFFFF).any()  # they are numbers of the precision, which has no more bits
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    drawn = (np.cumsum(probabilities, 1)[:, :-1] <= noise).sum(1)
    np.testing.assert_array_equal(outputs["action"], drawn)
    expected = np.log(probabilities[np.arange(ROWS), drawn])
    # Exact to float32, though the logits are not: V-trace's ratios hang on this.
    np.testing.assert_allclose(outputs["log_prob"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", UNIT)
def test_weights_come_and_go_in_float32(precision):
    agent = agent_of("cartpole")
    act = CompiledAct(agent, [ROWS], clone=True, precision=precision)
    act.warm()
    traces, before = act.traces, call(act, 0.0)[0]["value"]
    given = {name: value * 3.0 for name, value in CompiledAct(agent, [1]).weights().items()}
    act.load(given)
    for name, value in act.weights().items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, given[name], rtol=UNIT[precision])
    assert not np.array_equal(call(act, 0.0)[0]["value"], before)
    assert act.traces == traces
    # The agent's own are what they were: training knows nothing of this.
    assert all(variable.dtype == "float32" for variable in agent.nets["policy"].variables)


def test_what_is_normalised_far_from_zero_keeps_its_digits():
    agent = agent_of("normalized")
    norm = agent.nets["norm"].layers[-1]
    norm.mean.assign(np.full(4, 1e6, np.float32))
    act = CompiledAct(agent, [1], clone=True, precision="bfloat16")
    nothing = (np.zeros(1, bool), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    near, far = (
        act(1, {"observation": np.full((1, 4), 1e6 + off, np.float32)}, {}, *nothing)[0]["value"] for off in (0, 1)
    )
    assert near != far  # bfloat16 itself cannot tell these observations apart


def test_weights_that_float16_has_no_room_for_are_refused():
    act = CompiledAct(agent_of("cartpole"), [1], clone=True, precision="float16")
    weights = act.weights()
    weights["policy/value/bias"] = np.full(1, 7e4, np.float32)
    with pytest.raises(ValueError, match="'policy/value/bias' has numbers too large for float16; use bfloat16"):
        act.load(weights)


class Stubborn(keras.layers.Layer):
    """Keeps to float32, whatever it is told."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1), dtype="float32", autocast=False)

    def call(self, x):
        return keras.ops.matmul(keras.ops.cast(x, "float32"), self.kernel)


class Failing(keras.layers.Layer):
    """Refuses everything but float32."""

    def call(self, x):
        if keras.backend.standardize_dtype(x.dtype) != "float32":
            raise TypeError(f"takes float32, not {x.dtype}")
        return x


@pytest.mark.parametrize(
    ("layer", "text"), [(Stubborn, "its layers keep to float32"), (Failing, "takes float32, not")]
)
def test_a_network_that_cannot_is_refused_by_name(layer, text):
    x = keras.Input((4,), name="observation")
    h = layer()(x)
    value = h if layer is Stubborn else keras.layers.Dense(1)(h)
    outputs = {"logits": keras.ops.concatenate([value, value], -1), "value": value}
    network = keras.Model(x, outputs)
    observation = {"observation": OBSERVATIONS["cartpole"]}
    agent = VTraceAgent(AgentSettings(unroll_length=3), observation, TensorSpec((), "int64", 0, 1), network)
    with pytest.raises(PrecisionError, match=f"(?s)cannot act in bfloat16.*{text}"):
        CompiledAct(agent, [1], precision="bfloat16").warm()


def test_a_layer_whose_configuration_does_not_tell_its_dtype_takes_it_on():
    class Plain(keras.layers.Layer):
        def __init__(self, units=2):
            super().__init__()
            self.inner = keras.layers.Dense(units)

        def call(self, x):
            return self.inner(x)

        def get_config(self):
            return {"units": 2}

    x = keras.Input((4,))
    clone = cast_net(keras.Model(x, Plain()(x)), "bfloat16")
    assert {variable.dtype for variable in clone.variables} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"
