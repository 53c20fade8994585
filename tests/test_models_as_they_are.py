"""Models of Keras' own, saved and served by `corral serve` with no further setting; answers are the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from actor_client import PolicyClient
from corral.protocol import TensorSpec
from tests.support.own_layer import Lean
from tests.support.processes import process, until_serving

IMAGE = (224, 224, 3)
"""What MobileNet sees: 602,112 bytes a row as float32."""


@contextmanager
def served(folder: Path, model: keras.Model, *options: str) -> Iterator[PolicyClient]:
    """A client of a server of `model`, from its file."""
    path, address = folder / "model.keras", f"ipc://{folder}/server"
    model.save(path)
    with process("-m", "corral.cli", "serve", str(path), "--address", address, *options):
        until_serving(address, 280)
        with PolicyClient(address) as client:
            yield client


def check(answer: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> None:
    """Alike up to rounding: the server pads batches."""
    assert list(answer) == list(expected)
    for name, value in expected.items():
        value = keras.ops.convert_to_numpy(value)
        assert answer[name].dtype == value.dtype
        np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def images(rows: int, dtype: str = "float32") -> np.ndarray:
    """Noise, brighter from row to row, so that no row is another's."""
    rng = np.random.default_rng(rows)
    return (rng.random((rows, *IMAGE)) * np.linspace(64, 255, rows)[:, None, None, None]).astype(dtype)


def test_large_rows_several_inputs_nested_outputs_and_a_layer_of_ones_own(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    image, pole = keras.Input(IMAGE, name="image"), keras.Input((4,), name="pole")
    seen = keras.layers.Conv2D(2, 16, 16, activation="relu")(image)
    mean = keras.layers.GlobalAveragePooling2D()(seen)
    outputs = {"heads": {"left": keras.layers.Dense(3)(mean), "lean": Lean()(pole)}, "mean": mean}
    model = keras.Model({"image": image, "pole": pole}, outputs)
    with served(tmp_path, model, "--import", "tests.support.own_layer") as client:
        assert {name: leaf.shape for name, leaf in client.observation.items()} == {"image": IMAGE, "pole": (4,)}
        for rows in (1, 3, 40):  # more than one message takes: 32 rows are 19 MB
            pixels, poles = images(rows), np.eye(4, dtype=np.float32)[np.arange(rows) % 4]
            told = model({"image": pixels, "pole": poles})
            expected = {
                "heads/left": told["heads"]["left"],
                "heads/lean": np.asarray(told["heads"]["lean"]),
                "mean": told["mean"],
            }
            check(client.infer({"image": pixels, "pole": poles}), expected)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_mobilenet_v3_with_its_own_preprocessing(tmp_path: Path) -> None:
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=IMAGE)
    with served(tmp_path, model) as client:
        for rows in (1, 5):
            check(client.infer(images(rows)), {"output": model(images(rows), training=False)})
        with pytest.raises(Exception, match=r"SPEC.*\[1, 224, 224, 1\]"):
            client.infer(np.zeros((1, 224, 224, 1), np.float32))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_mobilenet_v2_that_takes_bytes(tmp_path: Path) -> None:
    image = keras.Input(IMAGE, dtype="uint8", name="image")
    features = keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg", input_shape=IMAGE)
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    model = keras.Model(image, keras.layers.Dense(10, "softmax", name="label")(features(scaled)))
    with served(tmp_path, model) as client:
        assert client.observation["observation"].dtype == "uint8"
        rows = images(4, "uint8")
        check(client.infer(rows), {"output": model(rows, training=False)})


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_classifier_of_keras_hub(tmp_path: Path) -> None:
    """Token ids and padding masks, int32, of a length that the model leaves open."""
    import keras_hub

    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=12
    )
    model = keras_hub.models.BertTextClassifier(backbone=backbone, num_classes=3)
    rng, rows = np.random.default_rng(1), 5
    lengths = rng.integers(2, 13, rows)
    tokens = {
        "padding_mask": (np.arange(12) < lengths[:, None]).astype(np.int32),
        "segment_ids": np.zeros((rows, 12), np.int32),
        "token_ids": rng.integers(0, 50, (rows, 12)).astype(np.int32),
    }
    with served(tmp_path, model, "--length", "12") as client:
        assert client.observation == dict.fromkeys(tokens, TensorSpec((12,), "int32"))
        answer = client.infer(tokens)
        check(answer, {"output": model(tokens, training=False)})
        # What is masked counts for nothing, so the mask has arrived.
        masked = {**tokens, "token_ids": np.where(tokens["padding_mask"], tokens["token_ids"], 7)}
        np.testing.assert_allclose(client.infer(masked)["output"], answer["output"], rtol=1e-4)
        assert np.ptp(answer["output"], axis=0).min() > 1e-6
