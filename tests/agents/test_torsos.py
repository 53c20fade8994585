import keras
import numpy as np
import pytest

from corral.agents.networks import build_network, build_torso
from corral.agents.settings import NetworkSettings
from corral.agents.torsos import is_image
from corral.protocol.specs import TensorSpec

FRAMES = TensorSpec((84, 84, 4), "uint8", 0.0, 255.0)
STACKED = TensorSpec((4, 84, 84), "uint8", 0.0, 255.0)
SMALL = TensorSpec((36, 40, 3), "uint8", 0.0, 255.0)

NATURE = (
    (8 * 8 * 4 * 32 + 32)
    + (4 * 4 * 32 * 64 + 64)
    + (3 * 3 * 64 * 64 + 64)
    + (7 * 7 * 64 * 512 + 512)  # 84 -> 20 -> 9 -> 7 positions
)
IMPALA = (
    (3 * 3 * 4 * 16 + 16 + 4 * (3 * 3 * 16 * 16 + 16))
    + (3 * 3 * 16 * 32 + 32 + 4 * (3 * 3 * 32 * 32 + 32))
    + (3 * 3 * 32 * 32 + 32 + 4 * (3 * 3 * 32 * 32 + 32))
    + (11 * 11 * 32 * 256 + 256)  # 84 -> 42 -> 21 -> 11 positions
)


def images(leaf, rows):
    return np.random.default_rng(3).integers(0, 256, (rows, *leaf.shape)).astype(np.uint8)


def torso_of(kind, observation, hidden=()):
    return build_torso(NetworkSettings(torso=kind, hidden=hidden), observation)


@pytest.mark.parametrize(
    ("leaf", "answer"),
    [
        (FRAMES, True),
        (STACKED, True),
        (SMALL, True),
        (TensorSpec((36, 36, 1), "uint8"), True),
        (TensorSpec((35, 84, 3), "uint8"), False),
        (TensorSpec((3, 35, 84), "uint8"), False),
        (TensorSpec((84, 84), "uint8"), False),
        (TensorSpec((84, 84, 0), "uint8"), False),
        (TensorSpec((84, 84, 4), "float32"), False),
    ],
)
def test_what_is_an_image(leaf, answer):
    assert is_image(leaf) is answer


@pytest.mark.parametrize(
    ("kind", "features", "parameters"),
    [("auto", 512, NATURE), ("nature_cnn", 512, NATURE), ("impala", 256, IMPALA), ("mlp", 84 * 84 * 4, 0)],
)
def test_size_of_each_torso(kind, features, parameters):
    torso = torso_of(kind, {"observation": FRAMES})
    assert torso.count_params() == parameters
    assert tuple(torso.output.shape) == (None, features)
    assert torso.output.dtype == "float32"
    assert torso.input["observation"].dtype == "uint8"


def test_numbers_worked_out_by_hand():
    assert NATURE == 1_684_128
    assert IMPALA == 1_089_232


@pytest.mark.parametrize(("kind", "features"), [("nature_cnn", 512), ("impala", 256), ("mlp", 36 * 40 * 3)])
def test_features_are_finite_and_tell_images_apart(kind, features):
    out = np.asarray(torso_of(kind, {"x": SMALL})({"x": images(SMALL, 3)}))
    assert out.shape == (3, features)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert (out >= 0).all()
    assert not np.allclose(out[0], out[1])


@pytest.mark.parametrize("kind", ["nature_cnn", "impala"])
def test_features_of_random_pixels_are_neither_tiny_nor_huge(kind):
    spread = np.asarray(torso_of(kind, {"x": FRAMES})({"x": images(FRAMES, 4)})).std()
    assert 0.05 < spread < 5


def test_pixels_are_scaled_to_one():
    torso = torso_of("nature_cnn", {"x": SMALL})
    for layer in torso.layers:
        if layer.weights:
            layer.set_weights([np.full_like(weight, 1 / weight[..., 0].size) for weight in layer.get_weights()])
            layer.bias.assign(np.zeros(layer.bias.shape))
    white = np.full((1, *SMALL.shape), 255, np.uint8)
    np.testing.assert_allclose(torso({"x": white}), np.ones((1, 512)), rtol=1e-4)


def test_a_residual_block_adds_to_what_it_is_given():
    # With the inner convolutions at zero, blocks change nothing: what remains is convolve and pool, three times.
    torso = torso_of("impala", {"x": SMALL})
    convolutions = [layer for layer in torso.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [16] * 5 + [32] * 10
    for number, layer in enumerate(convolutions):
        if number % 5:
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    tensor = images(SMALL, 2).astype(np.float32) / 255
    for layer in convolutions[::5]:
        tensor = keras.ops.max_pool(layer(tensor), 3, 2, "same", data_format="channels_last")
    dense = torso.get_layer("x_dense")
    expected = dense(keras.ops.reshape(keras.ops.relu(tensor), (2, -1)))
    np.testing.assert_allclose(torso({"x": images(SMALL, 2)}), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["nature_cnn", "impala"])
def test_frames_stacked_first_are_the_same_images(kind):
    last, first = torso_of(kind, {"x": FRAMES}), torso_of(kind, {"x": STACKED})
    first.set_weights(last.get_weights())
    pixels = images(FRAMES, 2)
    np.testing.assert_allclose(last({"x": pixels}), first({"x": np.moveaxis(pixels, -1, 1)}), rtol=1e-4, atol=1e-5)


def test_other_leaves_join_the_features_of_images_before_the_hidden_layers():
    observation = {"camera": SMALL, "pose": TensorSpec((3,), "float32"), "gear": TensorSpec((), "int64", 0, 4)}
    assert torso_of("auto", observation).output.shape[1] == 512 + 3 + 5
    torso = torso_of("impala", observation, hidden=(7,))
    assert torso.get_layer("hidden").kernel.shape == (256 + 3 + 5, 7)
    assert torso.output.shape[1] == 7


def test_each_image_has_convolutions_of_its_own():
    one, two = (dict.fromkeys(names, SMALL) for names in (("left",), ("left", "right")))
    assert torso_of("auto", two).count_params() == 2 * torso_of("auto", one).count_params()


def test_torsos_apart_share_no_convolution():
    settings = NetworkSettings(hidden=(), shared=False)
    apart = build_network(settings, {"observation": FRAMES}, {"logits": 3, "value": None})
    assert apart.count_params() == 2 * NATURE + 512 * 3 + 3 + 512 + 1
    assert {"logits_observation_conv", "value_observation_conv_2", "value_observation_dense"} <= {
        layer.name for layer in apart.layers
    }


@pytest.mark.parametrize("kind", ["nature_cnn", "impala"])
def test_a_torso_for_images_needs_one(kind):
    with pytest.raises(ValueError, match=rf"'{kind}' needs an image.*36x36.*float32\[4\]"):
        torso_of(kind, {"observation": TensorSpec((4,), "float32")})


@pytest.mark.parametrize("kind", ["nature_cnn", "impala"])
def test_a_torso_can_be_copied_saved_and_loaded(kind, tmp_path):
    torso, row = torso_of(kind, {"x": STACKED}), {"x": images(STACKED, 1)}
    clone = keras.models.clone_model(torso)
    clone.set_weights(torso.get_weights())
    torso.save(tmp_path / "torso.keras")
    loaded = keras.models.load_model(tmp_path / "torso.keras")
    for other in (clone, loaded):
        np.testing.assert_allclose(other(row), torso(row), rtol=1e-5, atol=1e-6)
