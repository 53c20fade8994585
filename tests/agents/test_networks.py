import keras
import numpy as np
import pytest
from keras import ops

from corral.agents.networks import build_heads, build_network, build_torso, feed, is_action_mask
from corral.agents.settings import NetworkSettings
from corral.protocol.specs import TensorSpec

HEADS = {"logits": 3, "value": None}


def weights(model, layer):
    return model.get_layer(layer).get_weights()


def test_outputs_are_named_and_shaped():
    model = build_network(NetworkSettings(hidden=(8,)), {"observation": TensorSpec((4,), "float32")}, HEADS)
    out = model({"observation": np.zeros((5, 4), np.float32)})
    assert {name: tuple(tensor.shape) for name, tensor in out.items()} == {"logits": (5, 3), "value": (5,)}


def test_weights_begin_orthogonal_with_their_gains_and_biases_at_zero():
    model = build_network(
        NetworkSettings(hidden=(8,), shared=False), {"observation": TensorSpec((4,), "float32")}, HEADS
    )
    for layer, gain in [("logits_hidden", 2**0.5), ("value_hidden", 2**0.5), ("logits", 0.01), ("value", 1.0)]:
        kernel, bias = weights(model, layer)
        short = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(short @ short.T, gain**2 * np.eye(len(short)), atol=1e-5)
        assert not bias.any()


def test_a_shared_torso_is_one_torso():
    spec = {"observation": TensorSpec((4,), "float32")}
    apart = build_network(NetworkSettings(hidden=(8, 8), shared=False), spec, HEADS)
    shared = build_network(NetworkSettings(hidden=(8, 8), shared=True), spec, HEADS)
    torso = (4 * 8 + 8) + (8 * 8 + 8)
    assert apart.count_params() - shared.count_params() == torso


def test_no_hidden_layers_is_a_linear_network():
    model = build_network(NetworkSettings(hidden=()), {"observation": TensorSpec((4,), "float32")}, HEADS)
    assert model.count_params() == (4 * 3 + 3) + (4 * 1 + 1)


@pytest.mark.parametrize(
    ("leaf", "value", "features"),
    [
        (TensorSpec((), "int64", 3, 6), 4, [0, 1, 0, 0]),
        (TensorSpec((2, 2), "uint8", 0, 255), [[0, 51], [102, 255]], [0, 0.2, 0.4, 1]),
        (TensorSpec((), "float32"), 1.5, [1.5]),
        (TensorSpec((2,), "bool"), [True, False], [1, 0]),
        (TensorSpec((2,), "float64"), [0.5, -2], [0.5, -2]),
        (TensorSpec((2,), "int64", (0, -1), (2, 0)), [2, -1], [0, 0, 1, 1, 0]),
        (TensorSpec((2,), "uint8", (3, 0), (4, 2)), [3, 1], [1, 0, 0, 1, 0]),
        (TensorSpec((2,), "int64", (0.0, -1.0), (2.0, 0.0)), [2, -1], [2, -1]),
        (TensorSpec((2,), "int8", 0, 1), [1, 0], [1, 0]),
    ],
)
def test_leaves_become_features(leaf, value, features):
    model = build_network(NetworkSettings(hidden=()), {"x": leaf}, {"out": 2})
    kernel = np.arange(2 * len(features), dtype=np.float32).reshape(len(features), 2)
    model.get_layer("out").set_weights([kernel, np.zeros(2, np.float32)])
    out = model({"x": np.array([value], leaf.dtype)})["out"]
    np.testing.assert_allclose(out, np.array([features], np.float32) @ kernel, rtol=1e-5)


def test_leaves_are_joined_in_order_and_nested_names_are_fed():
    spec = {"arm/pose": TensorSpec((1,), "float32"), "arm/grip": TensorSpec((1,), "float32")}
    model = build_network(NetworkSettings(hidden=()), spec, {"out": 1})
    model.get_layer("out").set_weights([np.array([[1.0], [10.0]], np.float32), np.zeros(1, np.float32)])
    leaves = {"arm/pose": np.float32([[1]]), "arm/grip": np.float32([[2]])}
    np.testing.assert_allclose(model(feed(model, leaves))["out"], [[21.0]])


def test_feed_gives_each_network_what_it_was_built_with():
    one = keras.Input((2,), name="anything")
    functional = keras.Model(one, one * 2)
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    listed = keras.Model([b, a], a - b)
    sequential = keras.Sequential([keras.Input((2,)), keras.layers.Flatten()])
    x, y = ops.ones((1, 2)), ops.zeros((1, 2))
    np.testing.assert_allclose(functional(feed(functional, {"observation": x})), [[2, 2]])
    np.testing.assert_allclose(sequential(feed(sequential, {"observation": x})), [[1, 1]])
    np.testing.assert_allclose(listed(feed(listed, {"a": x, "b": y})), [[1, 1]])


def test_feed_refuses_leaves_that_the_network_does_not_know():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, a - b)
    with pytest.raises(ValueError, match=r"'b'.*'c'"):
        feed(model, {"a": ops.ones((1, 2)), "c": ops.ones((1, 2))})


@pytest.mark.parametrize("dtype", ["int8", "bool", "int64"])
def test_an_action_mask_is_an_input_and_no_feature(dtype, tmp_path):
    spec = {"action_mask": TensorSpec((3,), dtype), "observation": TensorSpec((4,), "float32")}
    model = build_network(NetworkSettings(hidden=(8,)), spec, HEADS)
    assert model.get_layer("hidden").kernel.shape == (4, 8)
    model.save(tmp_path / "model.keras")
    row = np.ones((1, 4), np.float32)
    expected = model({"action_mask": np.ones((1, 3), dtype), "observation": row})["logits"]
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for net in (model, clone, keras.models.load_model(tmp_path / "model.keras")):
        leaves = {"action_mask": np.zeros((1, 3), dtype), "observation": row}
        np.testing.assert_array_equal(net(feed(net, leaves))["logits"], expected)


@pytest.mark.parametrize(
    ("name", "leaf", "answer"),
    [
        ("action_mask", TensorSpec((3,), "int8", 0, 1), True),
        ("action_mask", TensorSpec((3,), "bool"), True),
        ("action_mask", TensorSpec((3,), "float32"), False),
        ("action_mask", TensorSpec((), "int8"), False),
        ("mask", TensorSpec((3,), "int8"), False),
    ],
)
def test_what_is_an_action_mask(name, leaf, answer):
    assert is_action_mask(name, leaf) is answer


def test_a_mask_alone_is_nothing_to_act_on():
    with pytest.raises(ValueError, match=r"no leaf to make features of.*action_mask"):
        build_network(NetworkSettings(), {"action_mask": TensorSpec((3,), "int8")}, HEADS)


def test_several_discrete_numbers_can_be_copied_saved_and_loaded(tmp_path):
    spec = {"x": TensorSpec((2,), "int64", (0, 0), (2, 1))}
    model = build_network(NetworkSettings(hidden=(8,)), spec, HEADS)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    rows = np.array([[2, 1], [0, 0]])
    for net in (clone, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(net({"x": rows})["logits"], model({"x": rows})["logits"], rtol=1e-6)


def test_torso_and_heads_are_the_network_in_two():
    spec = {"observation": TensorSpec((4,), "float32"), "gear": TensorSpec((), "int64", 0, 2)}
    settings = NetworkSettings(hidden=(8, 5))
    whole, torso, heads = build_network(settings, spec, HEADS), build_torso(settings, spec), build_heads(5, HEADS)
    whole.set_weights([*torso.get_weights(), *heads.get_weights()])
    leaves = {"observation": np.float32([[1, 2, 3, 4], [0, 1, 0, 1]]), "gear": np.array([0, 2])}
    features = torso(feed(torso, leaves))
    assert tuple(features.shape) == (2, 5)
    parts, out = heads(feed(heads, {"features": features})), whole(feed(whole, leaves))
    assert {name: tuple(tensor.shape) for name, tensor in parts.items()} == {"logits": (2, 3), "value": (2,)}
    for name in HEADS:
        np.testing.assert_allclose(parts[name], out[name], rtol=1e-5)


def test_the_features_of_a_torso_without_hidden_layers_are_the_leaves():
    torso = build_torso(NetworkSettings(hidden=()), {"observation": TensorSpec((4,), "float32")})
    np.testing.assert_array_equal(torso({"observation": np.float32([[1, 2, 3, 4]])}), [[1, 2, 3, 4]])


@pytest.mark.parametrize(("key", "value"), [("torso", "resnet"), ("core", "rnn"), ("core_units", 0)])
def test_a_bad_setting_is_named_with_its_key(key, value):
    with pytest.raises(ValueError, match=rf"^{key} must be .*, not {value!r}$"):
        NetworkSettings(**{key: value})
