"""A trained policy acted with as it is: the same actions as the model alone, its state kept by whoever asks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from corral.agents import build_agent, load_backend
from corral.agents.frozen import FrozenAgent, frozen_agent
from corral.agents.settings import AgentSettings, NetworkSettings
from corral.protocol import TensorSpec

OBSERVATION = {"observation": TensorSpec((3,), "float32")}
ACTION = TensorSpec((), "int64", 0, 3)


def policy(core: str = "") -> keras.Model:
    keras.utils.set_random_seed(3)
    settings = AgentSettings("vtrace", network=NetworkSettings(hidden=(8,), core=core))
    return build_agent(settings, OBSERVATION, ACTION).policy()


def acted(agent: FrozenAgent, seen: np.ndarray, state: dict[str, np.ndarray]) -> tuple[dict, dict]:
    rows = len(seen)
    act = load_backend().CompiledAct(agent, [rows])
    nothing = np.zeros((rows, 0), np.float32)
    return act(rows, {"observation": seen}, state, np.zeros(rows, bool), nothing, nothing)


def test_it_does_what_the_model_does() -> None:
    model = policy()
    agent = FrozenAgent(model, OBSERVATION, ACTION)
    assert (agent.spec.noise, agent.spec.explore, dict(agent.spec.state)) == (0, 0, {})
    seen = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    out, _ = acted(agent, seen, {})
    expected = np.asarray(model.predict_on_batch({"observation": seen})["action"])
    assert out["action"].tolist() == expected.tolist()
    assert len(set(out["action"].tolist())) > 1
    assert out["action"].dtype == np.int64


def test_a_recurrent_one_is_given_its_state() -> None:
    model = policy("gru")
    agent = FrozenAgent(model, OBSERVATION, ACTION)
    (name,) = agent.spec.state
    seen = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    state = {key: leaf.zeros(4) for key, leaf in agent.spec.state.items()}
    for _ in range(3):
        expected = model.predict_on_batch({"observation": seen, **state})
        out, state = acted(agent, seen, state)
        assert out["action"].tolist() == np.asarray(expected["action"]).tolist()
        np.testing.assert_allclose(state[name], np.asarray(expected[name]), rtol=1e-5, atol=1e-6)
    assert np.abs(state[name]).max() > 0


def test_stacked_frames_are_state() -> None:
    frame = TensorSpec((12, 12), "uint8", 0, 255)
    stacked = keras.Input((12, 12, 4), dtype="uint8", name="observation")
    sums = keras.ops.sum(keras.ops.cast(stacked, "int32"), axis=(1, 2, 3)) % 4
    agent = frozen_agent(keras.Model({"observation": stacked}, {"action": sums}), {"observation": frame}, ACTION, 4)
    assert agent.spec.observation == {"observation": frame}
    assert [leaf.shape for leaf in agent.spec.state.values()] == [(12, 12, 3)]


def test_one_of_another_environment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes observation \[3\], the environment gives observation \[5\]"):
        FrozenAgent(policy(), {"observation": TensorSpec((5,), "float32")}, ACTION)
    with pytest.raises(ValueError, match="it was not trained on this environment"):
        FrozenAgent(policy(), OBSERVATION, TensorSpec((2,), "float32", -1, 1))
