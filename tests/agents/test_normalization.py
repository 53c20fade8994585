import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from corral.agents.networks import build_normalizer
from corral.agents.normalization import ObservationNorm
from corral.protocol.specs import TensorSpec

LEAF = TensorSpec((3,), "float32")


def batches(sizes, seed=0):
    rng = np.random.default_rng(seed)
    shift, scale = np.float32([1000, -2, 0]), np.float32([0.5, 30, 1e-3])
    return [(rng.standard_normal((size, 3)) * scale + shift).astype(np.float32) for size in sizes]


def statistics(layer):
    return {name: np.array(getattr(layer, name)) for name in ("mean", "variance", "count")}


def test_an_untrained_layer_changes_nothing_within_the_clip():
    rows = np.float32([[0, -9.75, 1e-6], [10.5, -1e9, 3]])
    np.testing.assert_array_equal(ObservationNorm()(rows), [[0, -9.75, np.float32(1e-6)], [10, -10, 3]])


@pytest.mark.parametrize("sizes", [(64,), (5, 1, 58), (1, 1, 1, 200)])
def test_statistics_are_those_of_all_rows_seen(sizes):
    layer, seen = ObservationNorm(), batches(sizes)
    for rows in seen:
        layer(rows, training=True)
    # The untrained layer counts as 1e-4 of a row, which a mean of 1000 still tells from none.
    all_rows = np.concatenate(seen).astype(np.float64)
    weights = np.r_[1e-4, np.ones(len(all_rows))] / (1e-4 + len(all_rows))
    mean = weights @ np.vstack([np.zeros(3), all_rows])
    variance = weights[0] * (1 + mean**2) + weights[1:] @ (all_rows - mean) ** 2
    found = statistics(layer)
    np.testing.assert_allclose(found["count"], len(all_rows) + 1e-4, rtol=1e-6)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-3)


def test_rows_come_out_with_mean_zero_and_deviation_one():
    layer = ObservationNorm()
    rows = np.random.default_rng(5).standard_normal((4000, 2)) * [3, 0.1] + [-7, 0.5]
    for part in np.split(rows, 8):
        layer(part.astype(np.float32), training=True)
    out = np.asarray(layer(rows.astype(np.float32)))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(out.std(axis=0), 1, atol=1e-2)


def test_the_rows_of_a_training_call_are_normalised_by_what_they_changed():
    layer, (rows,) = ObservationNorm(), batches([50])
    trained = np.asarray(layer(rows, training=True))
    np.testing.assert_array_equal(trained, layer(rows))
    assert abs(trained[:, 1].mean()) < 0.1


def test_only_training_changes_the_statistics():
    layer, (first, second) = ObservationNorm(), batches([20, 30])
    layer(first, training=True)
    before = statistics(layer)
    layer(second)
    layer(second, training=False)
    for name, value in statistics(layer).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_number_that_never_changes_comes_out_as_zero():
    layer, rows = ObservationNorm(), np.full((100, 1), 7, np.float32)
    for _ in range(20):
        layer(rows, training=True)
    assert np.abs(layer(rows)).max() < 0.01


def test_statistics_are_no_weights_to_train():
    layer = ObservationNorm()
    layer.build((None, 3))
    assert layer.trainable_variables == []
    assert [(v.name, tuple(v.shape), v.dtype) for v in layer.variables] == [
        ("mean", (3,), "float32"),
        ("variance", (3,), "float32"),
        ("count", (), "float32"),
    ]


def test_a_single_number_is_normalised_too():
    layer = ObservationNorm()
    layer(np.float32([1, 2, 3]), training=True)
    np.testing.assert_allclose(layer(np.float32([1, 2, 3])), np.float32([-1, 0, 1]) / (2 / 3) ** 0.5, atol=1e-3)


def test_a_normalizer_lets_through_what_is_no_float_vector():
    spec = {
        "arm/pose": LEAF,
        "speed": TensorSpec((), "float64"),
        "grid": TensorSpec((2, 2), "float32"),
        "pixels": TensorSpec((2,), "uint8"),
        "gear": TensorSpec((), "int64", 0, 4),
        "action_mask": TensorSpec((2,), "bool"),
    }
    net = build_normalizer(spec)
    rng = np.random.default_rng(0)
    leaves = {name: (rng.standard_normal((16, *leaf.shape)) * 4).astype(leaf.dtype) for name, leaf in spec.items()}
    out = net({name.replace("/", "."): leaf for name, leaf in leaves.items()}, training=True)
    assert set(out) == {name.replace("/", ".") for name in spec}
    assert {variable.path for variable in net.variables} == {
        f"{leaf}_norm/{name}" for leaf in ("arm.pose", "speed") for name in ("mean", "variance", "count")
    }
    for name, leaf in leaves.items():
        found = np.asarray(out[name.replace("/", ".")])
        assert found.shape == leaf.shape
        if name in ("arm/pose", "speed"):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
        else:
            np.testing.assert_array_equal(found, leaf)


def test_a_normalizer_of_nothing_lets_all_through():
    net = build_normalizer({"gear": TensorSpec((), "int32", 0, 4)})
    assert net.variables == []
    np.testing.assert_array_equal(net({"gear": np.int32([1, 3])})["gear"], [1, 3])
    clone = keras.models.clone_model(net)
    np.testing.assert_array_equal(clone({"gear": np.int32([1, 3])})["gear"], [1, 3])


def test_a_normalizer_can_be_copied():
    net, (rows,) = build_normalizer({"observation": LEAF}), batches([30])
    net({"observation": rows}, training=True)
    clone = keras.models.clone_model(net)
    clone.set_weights(net.get_weights())
    out, expected = (each({"observation": rows})["observation"] for each in (clone, net))
    np.testing.assert_array_equal(out, expected)


def test_a_saved_layer_is_loaded_by_whoever_serves_it(tmp_path):
    net, (rows,) = build_normalizer({"observation": LEAF}), batches([30])
    net({"observation": rows}, training=True)
    path = tmp_path / "net.keras"
    net.save(path)
    np.savez(tmp_path / "rows.npz", rows=rows, out=net({"observation": rows})["observation"])
    code = (
        "import sys, keras, numpy as np\n"
        "from corral.agents import ModelAgent\n"
        "net = keras.models.load_model(sys.argv[1], compile=False)\n"
        "kept = np.load(sys.argv[2])\n"
        "np.testing.assert_array_equal(net({'observation': kept['rows']})['observation'], kept['out'])\n"
        "print(type(net.layers[-1]).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "rows.npz")],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": keras.backend.backend()},
        check=False,
    )
    assert done.stdout.strip() == "ObservationNorm", done.stderr
