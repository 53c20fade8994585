import keras
import numpy as np
import pytest

from corral.agents.cores import build_core, core_state
from corral.agents.weights import named_variables
from corral.protocol.specs import TensorSpec

FEATURES, UNITS, ROWS = 3, 4, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def randomised(kind):
    """A core whose biases are no zeros, and its weights by layer."""
    core = build_core(kind, UNITS, FEATURES)
    rng = np.random.default_rng(0)
    core.set_weights([rng.standard_normal(weight.shape).astype(np.float32) for weight in core.get_weights()])
    return core, {name: core.get_layer(name).get_weights() for name in ("input", "recurrent")}


def rows(*names):
    rng = np.random.default_rng(1)
    inputs = {name: rng.standard_normal((ROWS, UNITS)).astype(np.float32) for name in names}
    return {"features": rng.standard_normal((ROWS, FEATURES)).astype(np.float32), **inputs}


def as_numpy(out):
    return {name: np.asarray(tensor) for name, tensor in out.items()}


def test_an_lstm_step_is_its_equations():
    core, weights = randomised("lstm")
    given = rows("h", "c")
    (kernel, bias), (recurrent,) = weights["input"], weights["recurrent"]
    i, f, g, o = np.split(given["features"] @ kernel + bias + given["h"] @ recurrent, 4, axis=1)
    c = sigmoid(f + 1) * given["c"] + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    out = as_numpy(core(given))
    for name, expected in {"output": h, "h": h, "c": c}.items():
        np.testing.assert_allclose(out[name], expected, rtol=1e-5, atol=1e-6)


def test_a_gru_step_is_its_equations():
    core, weights = randomised("gru")
    given = rows("h")
    (kernel, bias), (recurrent, recurrent_bias) = weights["input"], weights["recurrent"]
    z, r, n = np.split(given["features"] @ kernel + bias, 3, axis=1)
    z_h, r_h, n_h = np.split(given["h"] @ recurrent + recurrent_bias, 3, axis=1)
    keep = sigmoid(z + z_h)
    h = keep * given["h"] + (1 - keep) * np.tanh(n + sigmoid(r + r_h) * n_h)
    out = as_numpy(core(given))
    for name, expected in {"output": h, "h": h}.items():
        np.testing.assert_allclose(out[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "gates", "biases"), [("lstm", 4, 1), ("gru", 3, 2)])
def test_a_core_keeps_weights_and_nothing_else(kind, gates, biases):
    core = build_core(kind, UNITS, FEATURES)
    assert core.count_params() == gates * UNITS * (FEATURES + UNITS + biases)
    assert {variable.dtype for variable in named_variables({"core": core}).values()} == {"float32"}
    assert core.variables == core.trainable_variables


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_the_state_goes_around(kind):
    core, state = build_core(kind, UNITS, FEATURES), core_state(kind, UNITS)
    assert set(core.input) == {"features", *state}
    carried = {name: leaf.zeros(ROWS) for name, leaf in state.items()}
    seen = []
    for _ in range(3):
        out = as_numpy(core({"features": rows()["features"], **carried}))
        assert set(out) == {"output", *state}
        assert {name: TensorSpec(out[name].shape[1:], out[name].dtype.name) for name in state} == state
        carried = {name: out[name] for name in state}
        seen.append(out["output"])
    assert seen[0].shape == (ROWS, UNITS)
    assert not np.allclose(seen[0], seen[1])
    assert not np.allclose(seen[1], seen[2])


def test_states_by_kind():
    assert core_state("lstm", 5) == {"h": TensorSpec((5,), "float32"), "c": TensorSpec((5,), "float32")}
    assert core_state("gru", 5) == {"h": TensorSpec((5,), "float32")}


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_core_can_be_copied_saved_and_loaded(kind, tmp_path):
    core, _ = randomised(kind)
    given = rows(*core_state(kind, UNITS))
    clone = keras.models.clone_model(core)
    clone.set_weights(core.get_weights())
    core.save(tmp_path / "core.keras")
    loaded = keras.models.load_model(tmp_path / "core.keras")
    for other in (clone, loaded):
        for name, tensor in as_numpy(core(given)).items():
            np.testing.assert_allclose(as_numpy(other(given))[name], tensor, rtol=1e-6)
