import math

import numpy as np
import pytest
from keras import ops

from corral.agents.distributions import Categorical

JUST_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def sample(logits, uniforms):
    uniforms = np.asarray(uniforms, np.float32)
    logits = np.broadcast_to(np.asarray(logits, np.float32), (len(uniforms), len(logits)))
    return ops.convert_to_numpy(Categorical(ops.convert_to_tensor(logits)).sample(uniforms))


def test_each_action_owns_its_share_of_the_unit_interval():
    logits = np.log([0.25, 0.5, 0.25])  # cumulative: 0.25, 0.75, 1
    assert sample(logits, [0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.9999]).tolist() == [0, 0, 1, 1, 2, 2]


def test_evenly_spread_uniforms_give_the_probabilities():
    uniforms = (np.arange(10_000) + 0.5) / 10_000
    counts = np.bincount(sample(np.log([0.1, 0.2, 0.3, 0.4]), uniforms))
    assert np.abs(counts - [1000, 2000, 3000, 4000]).max() <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 18, 1000])
def test_no_uniform_leads_out_of_range(size):
    logits = np.random.default_rng(size).standard_normal(size) * 5
    actions = sample(logits, [0.0, JUST_BELOW_ONE, 1.0])
    assert actions.min() >= 0
    assert actions.max() <= size - 1


@pytest.mark.parametrize("impossible", [-np.inf, -1e9])
@pytest.mark.parametrize("seed", range(5))
def test_an_impossible_action_is_never_sampled(impossible, seed):
    logits = np.random.default_rng(seed).standard_normal(9)
    logits[[0, 4, 8]] = impossible
    actions = sample(logits, [0.0, *np.linspace(0, 1, 500, endpoint=False), JUST_BELOW_ONE])
    assert not np.isin(actions, [0, 4, 8]).any()


def test_log_prob_entropy_and_mode_by_hand():
    policy = Categorical(ops.convert_to_tensor(np.log([[0.2, 0.8], [0.5, 0.5]]).astype("float32")))
    np.testing.assert_allclose(policy.log_prob(np.array([1, 0])), [math.log(0.8), math.log(0.5)], rtol=1e-6)
    by_hand = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    np.testing.assert_allclose(policy.entropy(), [by_hand, math.log(2)], rtol=1e-6)
    assert ops.convert_to_numpy(policy.mode()).tolist() == [1, 0]


def test_impossible_actions_leave_entropy_and_log_prob_finite():
    policy = Categorical(ops.convert_to_tensor(np.array([[0.0, -np.inf, 0.0]], "float32")))
    np.testing.assert_allclose(policy.entropy(), [math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(policy.log_prob(np.array([2])), [math.log(0.5)], rtol=1e-6)
    assert np.isfinite(ops.convert_to_numpy(policy.log_prob(np.array([1])))).all()
