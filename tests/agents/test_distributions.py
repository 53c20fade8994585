import math

import numpy as np
import pytest
from keras import ops

from corral.agents.distributions import Categorical, Gaussian, MultiCategorical, SquashedGaussian, normal

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


# Several choices.


def test_several_choices_by_hand():
    logits = np.log([[0.25, 0.75, 0.5, 0.3, 0.2]]).astype("f4")
    policy = MultiCategorical(ops.convert_to_tensor(logits), [2, 3])
    drawn = policy.sample(ops.convert_to_tensor(np.array([[0.3, 0.6]], "f4")))
    assert np.asarray(drawn).tolist() == [[1, 1]]  # 0.3 lies beyond 0.25; 0.6 between 0.5 and 0.8
    np.testing.assert_allclose(policy.log_prob(np.array([[1, 1]])), [math.log(0.75 * 0.3)], rtol=1e-5)
    one = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    other = -0.5 * math.log(0.5) - 0.3 * math.log(0.3) - 0.2 * math.log(0.2)
    np.testing.assert_allclose(policy.entropy(), [one + other], rtol=1e-5)
    assert np.asarray(policy.mode()).tolist() == [[1, 0]]


# Numbers.


def test_normal_quantiles():
    quantiles = np.asarray(normal(ops.convert_to_tensor(np.array([0.0, 0.025, 0.5, 0.975, JUST_BELOW_ONE], "f4"))))
    np.testing.assert_allclose(quantiles[1:4], [-1.959964, 0.0, 1.959964], atol=1e-4)
    assert np.isfinite(quantiles).all()
    assert -5.6 < quantiles[0] < -5
    assert 4.9 < quantiles[4] < 5.6


def test_a_normal_distribution_by_hand():
    mean, log_std = np.array([[1.0, -2.0]], "f4"), np.log(np.array([[0.5, 2.0]], "f4"))
    policy = Gaussian(ops.convert_to_tensor(mean), ops.convert_to_tensor(log_std))
    np.testing.assert_allclose(policy.sample(np.array([[0.5, 0.975]], "f4")), [[1.0, -2 + 2 * 1.959964]], atol=1e-3)
    # At one deviation from the mean the density is exp(-1/2) / (sigma sqrt(2 pi)).
    by_hand = -0.5 - math.log(0.5 * math.sqrt(2 * math.pi)) - math.log(2 * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(policy.log_prob(np.array([[1.5, -2.0]], "f4")), [by_hand], rtol=1e-5)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25) + 0.5 * math.log(2 * math.pi * math.e * 4)
    np.testing.assert_allclose(policy.entropy(), [entropy], rtol=1e-5)


def test_squashing_changes_the_density_by_its_slope():
    policy = SquashedGaussian(ops.zeros((1, 1)), ops.zeros((1, 1)))
    u = 0.7
    by_hand = -0.5 * u * u - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(u) ** 2)
    np.testing.assert_allclose(policy.log_prob(np.array([[u]], "f4")), [by_hand], rtol=1e-5)


def test_the_density_of_squashed_numbers_is_one_in_all():
    policy = SquashedGaussian(ops.full((20001, 1), 0.3), ops.full((20001, 1), -0.5))
    u = np.linspace(-8, 8, 20001).astype("f4")[:, None]
    density = np.exp(np.asarray(policy.log_prob(ops.convert_to_tensor(u)))).astype("f8")
    action = np.tanh(u[:, 0].astype("f8"))
    assert np.trapezoid(density, action) == pytest.approx(1.0, abs=1e-3)


def test_far_out_the_squashed_density_stays_finite():
    policy = SquashedGaussian(ops.zeros((1, 1)), ops.zeros((1, 1)))
    assert np.isfinite(np.asarray(policy.log_prob(np.array([[40.0]], "f4")))).all()
