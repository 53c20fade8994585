import keras
import numpy as np
import pytest
from keras import ops

from corral.agents.policies import ActionScale, masked, policy_for
from corral.agents.settings import AgentSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import TensorSpec
from tests.agents.tables import masked_spec, masked_table

VECTOR = {"observation": TensorSpec((4,), "float32")}


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(np.array(values, dtype))


def test_one_choice_counts_from_the_lowest():
    policy = policy_for(TensorSpec((), "int64", -4, -2), VECTOR)
    assert policy.heads == {"logits": 3}
    assert policy.noise == 1
    outputs = policy.outputs(tensor([0, 2], "int32"))
    assert np.asarray(outputs["action"]).tolist() == [-4, -2]
    assert np.asarray(policy.sample_of(outputs)).tolist() == [0, 2]


def test_several_choices_have_their_own_sizes_and_lowest():
    policy = policy_for(TensorSpec((2,), "int64", (0.0, 5.0), (1.0, 7.0)), VECTOR)
    assert policy.heads == {"logits": 5}
    assert policy.noise == 2
    outputs = policy.outputs(tensor([[1, 2]], "int32"))
    assert np.asarray(outputs["action"]).tolist() == [[1, 7]]
    assert np.asarray(policy.sample_of(outputs)).tolist() == [[1, 2]]


def test_yes_and_no_is_a_choice_of_two():
    assert policy_for(TensorSpec((3,), "int8", 0, 1), VECTOR).heads == {"logits": 6}


def test_numbers_are_cut_to_their_bounds_and_remembered_as_drawn():
    policy = policy_for(TensorSpec((2,), "float32", (0.0, -2.0), (10.0, 2.0)), VECTOR)
    outputs = policy.outputs(tensor([[0.0, 3.0]]))
    assert np.asarray(outputs["action"]).tolist() == [[5.0, 2.0]]
    assert np.asarray(policy.sample_of(outputs)).tolist() == [[0.0, 3.0]]


def test_numbers_without_bounds_stay_as_they_are():
    policy = policy_for(TensorSpec((1,), "float32"), VECTOR)
    assert np.asarray(policy.outputs(tensor([[-7.5]]))["action"]).tolist() == [[-7.5]]


@pytest.mark.parametrize("action", [TensorSpec((), "int64"), TensorSpec((2, 2), "float32", -1, 1)])
def test_other_actions_are_refused(action):
    with pytest.raises(ValueError, match="no policy gives actions like"):
        policy_for(action, VECTOR)


def test_a_mask_rules_actions_out():
    observation = {**VECTOR, "action_mask": TensorSpec((3,), "int8", 0, 1)}
    policy = policy_for(TensorSpec((), "int64", 0, 2), observation)
    mask = tensor([[0, 1, 1], [1, 0, 0]], "int8")
    distribution = policy.distribution({"logits": tensor([[9, 0, 0], [0, 9, 9]])}, {"action_mask": mask})
    for uniform in (0.0, 0.4, 0.6, 0.999):
        drawn = np.asarray(policy.draw(distribution, tensor([[uniform], [uniform]])))
        assert drawn[0] in (1, 2)
        assert drawn[1] == 0
    np.testing.assert_allclose(distribution.entropy(), [np.log(2), 0], atol=1e-6)


def test_probabilities_behind_a_mask_by_hand():
    # Of 0.5, 0.25, 0.25 the first is ruled out: a half each. Of 0.5, 0.3, 0.2 the last: 5/8 and 3/8.
    policy = policy_for(TensorSpec((), "int64", 0, 2), {**VECTOR, "action_mask": TensorSpec((3,), "bool")})
    logits = np.log([[0.5, 0.25, 0.25], [0.5, 0.3, 0.2]])
    mask = tensor([[0, 1, 1], [1, 1, 0]], "bool")
    distribution = policy.distribution({"logits": tensor(logits)}, {"action_mask": mask})
    np.testing.assert_allclose(distribution.log_prob(tensor([2, 0], "int32")), np.log([0.5, 5 / 8]), rtol=1e-5)
    entropy = -(5 / 8 * np.log(5 / 8) + 3 / 8 * np.log(3 / 8))
    np.testing.assert_allclose(distribution.entropy(), [np.log(2), entropy], rtol=1e-5)
    assert np.asarray(distribution.mode()).tolist() == [1, 0]


def test_each_of_several_choices_has_its_part_of_the_mask():
    # Of 1/2, 1/4, 1/4 the first is ruled out, of 0.9 and 0.1 the first: 0.5 * 1.
    policy = policy_for(TensorSpec((2,), "int64", (0.0, 0.0), (2.0, 1.0)), VECTOR)
    logits = tensor(np.log([[0.5, 0.25, 0.25, 0.9, 0.1]]))
    distribution = policy.distribution({"logits": logits}, {"action_mask": tensor([[0, 1, 1, 0, 1]], "int8")})
    np.testing.assert_allclose(distribution.log_prob(tensor([[1, 1]], "int32")), [np.log(0.5)], rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), [np.log(2)], rtol=1e-5)


def test_a_mask_that_allows_nothing_rules_nothing_out():
    logits = tensor([[1, 2], [3, 4]])
    got = masked(logits, {"action_mask": tensor([[0, 0], [0, 1]], "int8")})
    assert np.asarray(got)[0].tolist() == [1, 2]
    assert np.asarray(got)[1, 0] < -1e20
    assert np.asarray(got)[1, 1] == 4


def test_a_saved_policy_keeps_to_its_mask(tmp_path):
    agent = VTraceAgent(
        AgentSettings(),
        masked_spec(2, 3),
        TensorSpec((), "int64", 0, 2),
        masked_table(logits=[[9, 1, 0]] * 2, value=[0, 0]),
    )
    agent.policy().save(tmp_path / "policy.keras")
    loaded = keras.models.load_model(tmp_path / "policy.keras")
    row, masks = np.array([0, 1, 1], "i4"), np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]], "i1")
    got = loaded.predict_on_batch({"row": row, "action_mask": masks})["action"]
    assert np.asarray(got).tolist() == [0, 1, 2]


def test_a_mask_of_another_size_is_refused():
    observation = {**VECTOR, "action_mask": TensorSpec((2,), "int8", 0, 1)}
    with pytest.raises(ValueError, match='"action_mask" must be one whole number or bool for each of 3 actions'):
        policy_for(TensorSpec((), "int64", 0, 2), observation)


def test_temperature_zero_is_greedy():
    policy = policy_for(TensorSpec((1,), "float32", -1, 1), VECTOR)
    out = {"mean": tensor([[0.25]]), "log_std": tensor([[0.0]])}
    drawn = policy.draw(policy.distribution(out, {}, tensor([0.0])), tensor([[0.99]]))
    np.testing.assert_allclose(drawn, [[0.25]], atol=1e-4)


def test_scaling_goes_both_ways_within_bounds():
    scale = ActionScale(TensorSpec((2,), "float32", (0.0, -3.0), (1.0, 1.0)))
    np.testing.assert_allclose(scale.outward(tensor([[-1, 1], [0, 0.5]])), [[0, 1], [0.5, 0]])
    np.testing.assert_allclose(scale.inward(tensor([[0, 1], [0.5, 0]])), [[-1, 1], [0, 0.5]])
    assert scale.bounded
    assert not ActionScale(TensorSpec((1,), "float32", -1.0)).bounded
