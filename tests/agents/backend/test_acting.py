"""What acting keeps to on every backend. This file runs on the backend of its process; `test_jax.py` and
`test_torch.py` run it on others."""

import keras
import numpy as np
import pytest

from corral.agents.backend import load_backend
from corral.agents.model import ModelAgent
from corral.agents.settings import AgentSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from tests.agents.backend.contract import counting_agent, inputs, same

CompiledAct = load_backend().CompiledAct


def test_compiled_act_is_act(small_agent):
    rows, *arrays = inputs(small_agent, 4)
    compiled, _ = CompiledAct(small_agent, [4])(rows, *arrays)
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)
    plain, _ = small_agent.act(lambda name, *x: small_agent.nets[name](*x), *tensors)
    assert list(compiled) == list(small_agent.spec.outputs)
    for name, leaf in small_agent.spec.outputs.items():
        assert compiled[name].dtype.name == leaf.dtype
        np.testing.assert_allclose(compiled[name], keras.ops.convert_to_numpy(plain[name]), rtol=1e-5)


def test_a_row_is_answered_alike_in_every_bucket(small_agent):
    act = CompiledAct(small_agent, [1, 8])
    _, observation, _, first, noise, explore = inputs(small_agent, 8)
    many, _ = act(8, observation, {}, first, noise, explore)
    one, _ = act(1, {"observation": observation["observation"][:1]}, {}, first[:1], noise[:1], explore[:1])
    assert one["action"][0] == many["action"][0]
    np.testing.assert_allclose(one["log_prob"][0], many["log_prob"][0], rtol=1e-5)


def test_warming_traces_every_bucket_once_and_calls_trace_nothing(small_agent):
    act, seen = CompiledAct(small_agent, [1, 2, 4]), []
    act.warm(seen.append)
    assert seen == [1, 2, 4]
    assert act.traces == 3
    for seed in range(20):
        act(*inputs(small_agent, (1, 2, 4)[seed % 3], seed))
    act.load(act.weights())
    act.warm()
    assert act.traces == 3


def test_results_outlive_the_arrays_they_came_from(small_agent):
    act = CompiledAct(small_agent, [4])
    arguments = inputs(small_agent, 4)
    outputs, _ = act(*arguments)
    before = {name: value.copy() for name, value in outputs.items()}
    arguments[1]["observation"][:] = 9
    arguments[4][:] = 0.123
    act(*arguments)
    assert same(before, outputs)


@pytest.mark.parametrize("shape", [(4,), (4, 4)])
def test_an_input_handed_through_is_copied(shape):
    x = keras.Input(shape)
    agent = ModelAgent(keras.Model(x, {"same": keras.layers.Reshape((-1,))(x), "more": x + 1.0}))
    act = CompiledAct(agent, [64])
    memory = np.zeros(64 * 16 + 64, np.float32)
    for start in range(16):  # one of these is aligned as backends like it, and is taken uncopied
        batch = memory[start : start + 64 * int(np.prod(shape))].reshape(64, *shape)
        batch[:] = 1.0
        nothing = np.zeros((64, 0), np.float32)
        outputs, _ = act(64, {"observation": batch}, {}, np.zeros(64, bool), nothing, nothing)
        batch[:] = 5.0
        assert (outputs["same"] == 1.0).all()
        assert (outputs["more"] == 2.0).all()


def test_results_outlive_the_arrays_wherever_they_lie(small_agent):
    act, memory = CompiledAct(small_agent, [64]), np.zeros(64 * 4 + 16, np.float32)
    rows, _, state, first, noise, explore = inputs(small_agent, 64)
    expected = act(rows, {"observation": np.ones((64, 4), np.float32)}, state, first, noise, explore)[0]
    for start in range(16):  # as above
        batch = memory[start : start + 64 * 4].reshape(64, 4)
        batch[:] = 1.0
        outputs, _ = act(rows, {"observation": batch}, state, first, noise, explore)
        batch[:] = 5.0
        assert same(outputs, expected)


def test_integers_come_out_as_the_spec_says():
    x = keras.Input((), dtype="int64")
    agent = ModelAgent(keras.Model(x, {"next": x + 1, "half": keras.ops.cast(x, "float32") / 2.0}))
    nothing = np.zeros((2, 0), np.float32)
    outputs, _ = CompiledAct(agent, [2])(
        2, {"observation": np.array([5, -7])}, {}, np.zeros(2, bool), nothing, nothing
    )
    assert outputs["next"].dtype.name == agent.spec.outputs["next"].dtype
    assert outputs["next"].tolist() == [6, -6]
    assert outputs["half"].tolist() == [2.5, -3.5]


@pytest.mark.parametrize("clone", [False, True])
def test_what_a_layer_keeps_goes_on_from_call_to_call(clone):
    act = CompiledAct(counting_agent(), [2], clone=clone)
    act.warm()
    before = act.weights()["policy/counter/count"]
    for _ in range(3):
        act(*inputs(act.agent, 2))
    assert act.weights()["policy/counter/count"] == before + 3


def test_a_clone_has_weights_of_its_own(small_agent):
    own, clone = CompiledAct(small_agent, [4]), CompiledAct(small_agent, [4], clone=True)
    assert own.weight_spec == clone.weight_spec
    assert same(own.weights(), clone.weights())
    clone.load({name: value + 1 for name, value in clone.weights().items()})
    assert not same(own.weights(), clone.weights())
    arguments = inputs(small_agent, 4)
    assert not np.array_equal(own(*arguments)[0]["value"], clone(*arguments)[0]["value"])
    own.load(clone.weights())
    assert same(own(*arguments)[0], clone(*arguments)[0])


def aligned(array):
    """A copy where a backend would take memory over rather than copy it."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_loaded_weights_are_copied(small_agent):
    act = CompiledAct(small_agent, [4], clone=True)
    act.load(act.weights())  # the first load compiles
    mine = {name: aligned(value) for name, value in act.weights().items()}
    act.load(mine)
    before = {name: value.copy() for name, value in mine.items()}
    for value in mine.values():
        value[...] = 7
    assert same(act.weights(), before)


def test_weight_names_do_not_depend_on_what_was_built_before():
    def network():
        x = keras.Input((4,), name="observation")
        h = keras.layers.Dense(3)(keras.layers.Dense(3)(x))
        return keras.Model(x, {"logits": keras.layers.Dense(2)(h), "value": keras.layers.Dense(1)(h)})

    observation, action = {"observation": TensorSpec((4,), "float32")}, TensorSpec((), "int64", 0, 1)
    specs = [
        CompiledAct(VTraceAgent(AgentSettings(), observation, action, network()), [1]).weight_spec for _ in range(2)
    ]
    assert specs[0] == specs[1]
    assert list(specs[0])[:3] == ["policy/dense/kernel", "policy/dense/bias", "policy/dense_1/kernel"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("policy/logits/bias"), "policy/logits/bias"),
        (lambda w: w.update(extra=np.zeros(1)), "extra"),
        (lambda w: w.update({"policy/logits/bias": np.zeros(3, "f4")}), r"\[2\].*\[3\]"),
        (lambda w: w.update({"policy/logits/bias": np.zeros(2, "f8")}), "float64"),
    ],
)
def test_weights_that_do_not_fit_are_refused_whole(small_agent, change, message):
    act = CompiledAct(small_agent, [1])
    before = act.weights()
    pushed = {name: value + 1 for name, value in before.items()}
    change(pushed)
    with pytest.raises(ValueError, match=message):
        act.load(pushed)
    assert same(act.weights(), before)
