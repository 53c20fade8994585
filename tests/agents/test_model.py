import keras
import numpy as np
import pytest

from corral.agents.model import ModelAgent
from corral.protocol.specs import TensorSpec


def act(agent, rows=3):
    observation = {name: leaf.zeros(rows) for name, leaf in agent.spec.observation.items()}
    nothing = np.zeros((rows, 0), np.float32)
    outputs, state = agent.act(
        lambda name, *x: agent.nets[name](*x), observation, {}, np.zeros(rows, bool), nothing, nothing
    )
    assert state == agent.initial_state(rows) == {}
    return {name: tuple(value.shape) for name, value in outputs.items()}


def check(agent, observation, outputs):
    assert agent.spec.observation == observation
    assert agent.spec.outputs == outputs
    assert agent.spec.action is None
    assert list(agent.spec.outputs) == list(outputs)
    assert act(agent) == {name: (3, *leaf.shape) for name, leaf in outputs.items()}


def test_one_input_and_one_output():
    x = keras.Input((4, 2), dtype="uint8")
    model = keras.Model(x, keras.layers.Dense(5)(keras.ops.cast(x, "float32")))
    check(
        ModelAgent(model),
        {"observation": TensorSpec((4, 2), "uint8")},
        {"output": TensorSpec((4, 5), "float32")},
    )


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    check(ModelAgent(model), {"observation": TensorSpec((4,), "float32")}, {"output": TensorSpec((2,), "float32")})


def test_several_inputs_keep_their_names_and_a_dictionary_its_order():
    a, b = keras.Input((2,), name="b"), keras.Input((), name="a", dtype="int32")
    z = keras.layers.Dense(3)(a)
    model = keras.Model([a, b], {"zebra": z, "ape": b})
    check(
        ModelAgent(model),
        {"b": TensorSpec((2,), "float32"), "a": TensorSpec((), "int32")},
        {"zebra": TensorSpec((3,), "float32"), "ape": TensorSpec((), "int32")},
    )


def test_a_list_of_outputs_is_named_after_its_layers():
    x = keras.Input((2,))
    model = keras.Model(x, [keras.layers.Dense(3, name="left")(x), keras.layers.Dense(1, name="right")(x)])
    check(
        ModelAgent(model),
        {"observation": TensorSpec((2,), "float32")},
        {"left": TensorSpec((3,), "float32"), "right": TensorSpec((1,), "float32")},
    )


def test_a_list_whose_layer_names_repeat_is_numbered():
    x = keras.Input((2,))
    dense = keras.layers.Dense(2, name="twice")
    model = keras.Model(x, [dense(x), dense(dense(x))])
    check(
        ModelAgent(model),
        {"observation": TensorSpec((2,), "float32")},
        {"output_0": TensorSpec((2,), "float32"), "output_1": TensorSpec((2,), "float32")},
    )


def test_a_model_from_disk(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert ModelAgent(loaded).spec == ModelAgent(model).spec


def test_an_unknown_size_behind_the_batch_is_refused():
    x = keras.Input((None, 3), name="words")
    with pytest.raises(ValueError, match=r"'observation'.*'unknown', 3"):
        ModelAgent(keras.Model(x, keras.layers.Dense(1)(x)))


def test_a_length_is_that_of_whatever_is_open():
    x, mask = keras.Input((None, 3), name="words"), keras.Input((None,), dtype="int32", name="mask")
    model = keras.Model({"words": x, "mask": mask}, {"each": keras.layers.Dense(2)(x), "sum": keras.ops.sum(x, 1)})
    check(
        ModelAgent(model, length=7),
        {"mask": TensorSpec((7,), "int32"), "words": TensorSpec((7, 3), "float32")},
        {"each": TensorSpec((7, 2), "float32"), "sum": TensorSpec((3,), "float32")},
    )


def test_a_fixed_batch_is_refused():
    x = keras.Input((3,), batch_size=8)
    with pytest.raises(ValueError, match="fixed batch of 8"):
        ModelAgent(keras.Model(x, keras.layers.Dense(1)(x)))


def test_a_model_that_was_never_built_is_refused():
    with pytest.raises(ValueError, match="no known inputs"):
        ModelAgent(keras.Sequential([keras.layers.Dense(2)]))


def test_a_served_model_does_not_learn():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    agent = ModelAgent(model)
    assert agent.groups == {}
    with pytest.raises(NotImplementedError):
        agent.losses(lambda name, *x: x, None, None)
