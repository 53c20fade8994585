import keras
import numpy as np
import pytest

from corral.agents.settings import NetworkSettings
from corral.agents.trunk import Trunk
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType, Unroll
from tests.agents.conftest import gradient_of
from tests.agents.tables import caller

OBSERVATION = {"observation": TensorSpec((3,), "float32")}
OUTPUTS = {"logits": 2, "value": None}
LENGTH, BATCH = 6, 3


def an_unroll(trunk, seed=0):
    rng = np.random.default_rng(seed)
    indices = LENGTH + 1
    types = np.full((indices, BATCH), StepType.MID, "u1")
    types[3, 0], types[4, 0] = StepType.LAST, StepType.FIRST
    types[0, 1] = StepType.FIRST
    state = {name: rng.normal(size=(BATCH, *leaf.shape)).astype("f4") for name, leaf in trunk.state.items()}
    for leaf in state.values():
        leaf[1] = 0  # as servers have it before a FIRST
    zeros = np.zeros((indices, BATCH), "f4")
    observation = {"observation": rng.normal(size=(indices, BATCH, 3)).astype("f4")}
    return keras.tree.map_structure(
        keras.ops.convert_to_tensor, Unroll(observation, {}, zeros, zeros, types, zeros, state)
    )


@pytest.mark.parametrize("core", ["", "lstm", "gru"])
@pytest.mark.parametrize("normalize", [False, True])
def test_an_unroll_is_its_steps_one_by_one(core, normalize):
    trunk = Trunk(NetworkSettings(hidden=(4,), core=core, core_units=5, normalize=normalize), OBSERVATION, OUTPUTS)
    call, unroll = caller(trunk.nets), an_unroll(trunk)
    whole = trunk.unroll(call, unroll)
    state = dict(unroll.state)
    for index in range(LENGTH + 1):
        begins = np.asarray(unroll.step_type[index]) == StepType.FIRST
        state = {name: keras.ops.where(begins[:, None], 0.0, leaf) for name, leaf in state.items()}
        out, state = trunk.step(call, {"observation": unroll.observation["observation"][index]}, state)
        for name in OUTPUTS:
            np.testing.assert_allclose(whole[name][index], out[name], rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_the_burn_in():
    trunk = Trunk(NetworkSettings(hidden=(4,), core="gru", core_units=5), OBSERVATION, OUTPUTS)
    unroll = an_unroll(trunk)
    kernel = trunk.nets["torso"].trainable_variables[0]

    def moves(burn_in, index):
        def value():
            out = trunk.unroll(caller(trunk.nets), unroll, burn_in=burn_in)
            return keras.ops.sum(out["value"][index])

        return gradient_of(value, kernel)

    # What follows the burn-in remembers what it saw, and learns from its own observations alone.
    assert not np.allclose(moves(0, LENGTH), moves(LENGTH, LENGTH))
    assert np.any(moves(LENGTH, LENGTH))


def test_without_a_core_there_is_one_net():
    trunk = Trunk(NetworkSettings(hidden=(4,)), OBSERVATION, OUTPUTS)
    assert set(trunk.nets) == {"policy"}
    assert trunk.state == {}
