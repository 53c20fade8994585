import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from corral.agents.returns import at_index, clip_rewards, n_step, squash, unsquash, vtrace
from corral.protocol.unrolls import StepType


def column(*numbers):
    return np.array(numbers, np.float32)[:, None]


def run(values, rewards, discounts, rhos, mask=None, **clips):
    mask = [1.0] * len(rewards) if mask is None else mask
    log_rhos = np.log(column(*rhos))
    result = vtrace(column(*values), column(*rewards), column(*discounts), log_rhos, column(*mask), **clips)
    return np.asarray(result.targets)[:, 0], np.asarray(result.advantages)[:, 0]


def test_on_policy_targets_are_n_step_returns():
    # gamma 0.5, rewards 1, 2, 4, V(x_3) = 8:
    #   v_2 = 4 + 0.5 * 8 = 8
    #   v_1 = 2 + 0.5 * 8 = 6
    #   v_0 = 1 + 0.5 * 6 = 4
    # and each advantage is v_s - V(x_s): 4 - 10, 6 - 20, 8 - 30.
    targets, advantages = run([10, 20, 30, 8], [1, 2, 4], [0.5, 0.5, 0.5], [1, 1, 1])
    np.testing.assert_allclose(targets, [4, 6, 8], rtol=1e-6)
    np.testing.assert_allclose(advantages, [-6, -14, -22], rtol=1e-6)


def test_off_policy_ratios_are_clipped_each_by_its_own_bound():
    # Ratios 4 and 0.5; rho-bar 3, c-bar 2, policy-gradient bound 1; gamma 0.5; V = 1, 2, 4; rewards 1, 1.
    #   delta_1 = min(3, 0.5) (1 + 0.5 * 4 - 2) = 0.5 * 1 = 0.5
    #   delta_0 = min(3, 4)   (1 + 0.5 * 2 - 1) = 3 * 1 = 3
    #   v_1 = 2 + 0.5 = 2.5
    #   v_0 = 1 + 3 + 0.5 * min(2, 4) * (2.5 - 2) = 4 + 0.5 * 2 * 0.5 = 4.5
    #   A_1 = min(1, 0.5) (1 + 0.5 * 4 - 2) = 0.5
    #   A_0 = min(1, 4)   (1 + 0.5 * 2.5 - 1) = 1.25
    targets, advantages = run([1, 2, 4], [1, 1], [0.5, 0.5], [4, 0.5], clip_rho=3, clip_c=2, clip_pg_rho=1)
    np.testing.assert_allclose(targets, [4.5, 2.5], rtol=1e-6)
    np.testing.assert_allclose(advantages, [1.25, 0.5], rtol=1e-6)


def test_lambda_shortens_the_trace():
    # Ratios 1, gamma 1, lambda 0.5, V = 1, 2, 3; rewards 1, 1:
    #   delta_0 = 1 + 2 - 1 = 2, delta_1 = 1 + 3 - 2 = 2
    #   v_1 = 2 + 2 = 4,  v_0 = 1 + 2 + 0.5 * 2 = 4
    #   A_0 = 2 + 0.5 * 2 = 3 (generalised advantage),  A_1 = 2
    targets, advantages = run([1, 2, 3], [1, 1], [1, 1], [1, 1], lambda_=0.5)
    np.testing.assert_allclose(targets, [4, 4], rtol=1e-6)
    np.testing.assert_allclose(advantages, [3, 2], rtol=1e-6)


# An episode of x_0, x_1 (LAST), then x_2 (FIRST), x_3: the transition 1 -> 2 joins two episodes.
# V = 1, 2, 50, 4; rewards 3, (0), 5; gamma 0.5.
JOIN = [1.0, 0.0, 1.0]


def test_termination_bootstraps_nothing():
    #   v_0 = 3 + 0 * 2 = 3;  v_1 = V(x_1) = 2, no transition;  v_2 = 5 + 0.5 * 4 = 7
    targets, advantages = run([1, 2, 50, 4], [3, 0, 5], [0, 0.5, 0.5], [1, 1, 1], JOIN)
    np.testing.assert_allclose(targets, [3, 2, 7], rtol=1e-6)
    np.testing.assert_allclose(advantages, [2, 0, -43], rtol=1e-6)


def test_truncation_bootstraps_the_final_observation():
    #   v_0 = 3 + 0.5 * V(x_1) = 4: neither 3 nor anything of V(x_2) = 50
    targets, advantages = run([1, 2, 50, 4], [3, 0, 5], [0.5, 0.5, 0.5], [1, 1, 1], JOIN)
    np.testing.assert_allclose(targets, [4, 2, 7], rtol=1e-6)
    np.testing.assert_allclose(advantages, [3, 0, -43], rtol=1e-6)


def test_nothing_crosses_the_join_of_two_episodes():
    quiet = run([1, 2, 50, 4], [3, 0, 5], [0.5, 0.5, 0.5], [1, 1, 1], JOIN)
    loud = run([1, 2, -9e3, 4], [3, 77, 9e3], [0.5, 0.5, 0.5], [1, 6, 0.1], JOIN)
    for one, other in zip(quiet, loud, strict=True):
        np.testing.assert_allclose(one[:2], other[:2])


def test_rewards_are_clipped_both_ways_or_not_at_all():
    np.testing.assert_allclose(clip_rewards(column(-3, 0.5, 3), 1.0), column(-1, 0.5, 1))
    np.testing.assert_allclose(clip_rewards(column(-3, 0.5, 3), 0.0), column(-3, 0.5, 3))


def slow_vtrace(values, rewards, discounts, rhos, mask, clip_rho, clip_c, clip_pg_rho, lambda_):
    """Equation 1 of the paper as it is written: a sum over t of products over i, for one column."""
    length = len(rewards)
    targets = []
    for s in range(length):
        total, product = values[s], 1.0
        for t in range(s, length):
            delta = min(clip_rho, rhos[t]) * (rewards[t] + discounts[t] * values[t + 1] - values[t])
            total += product * delta * mask[t]
            product *= mask[t] * discounts[t] * lambda_ * min(clip_c, rhos[t])
        targets.append(total)
    advantages = []
    for s in range(length):
        beyond = targets[s + 1] - values[s + 1] if s + 1 < length else 0.0
        q_value = rewards[s] + discounts[s] * (values[s + 1] + lambda_ * beyond)
        advantages.append(mask[s] * min(clip_pg_rho, rhos[s]) * (q_value - values[s]))
    return np.array(targets), np.array(advantages)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_agrees_with_the_sum_in_the_paper(data):
    length, batch = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=(length + 1, batch))
    rewards = rng.normal(size=(length, batch))
    discounts = rng.choice([0.0, 0.9, 0.99], (length, batch))
    rhos = np.exp(rng.normal(size=(length, batch)))
    mask = rng.choice([0.0, 1.0, 1.0], (length, batch))
    clips = {
        "clip_rho": data.draw(st.sampled_from([0.5, 1.0, 3.0])),
        "clip_c": data.draw(st.sampled_from([0.5, 1.0, 2.0])),
        "clip_pg_rho": data.draw(st.sampled_from([0.5, 1.0, 4.0])),
        "lambda_": data.draw(st.sampled_from([0.0, 0.8, 1.0])),
    }
    singles = [array.astype(np.float32) for array in (values, rewards, discounts, np.log(rhos), mask)]
    result = vtrace(*singles, **clips)
    for b in range(batch):
        column_of = [array[:, b] for array in (values, rewards, discounts, rhos, mask)]
        targets, advantages = slow_vtrace(*column_of, **clips)
        np.testing.assert_allclose(np.asarray(result.targets)[:, b], targets, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(np.asarray(result.advantages)[:, b], advantages, rtol=2e-4, atol=2e-4)


# n steps ahead.


def ahead(rewards, discounts, types, gamma=0.5):
    """R, D and e of one column of indices."""
    as_column = [np.array(numbers, kind)[:, None] for numbers, kind in zip(
        (rewards, discounts, types), ("f4", "f4", "u1"), strict=True)]  # fmt: skip
    return [np.asarray(part).item() for part in n_step(*(ops.convert_to_tensor(each) for each in as_column), gamma)]


FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST


def test_three_steps_by_hand():
    # R = 1 + 0.5 * 2 + 0.25 * 4 = 3, the value there counts 0.5^3
    assert ahead([9, 1, 2, 4], [1, 1, 1, 1], [MID, MID, MID, MID]) == [3.0, 0.125, 3]


def test_a_terminated_episode_ends_the_sum_and_bootstraps_nothing():
    assert ahead([9, 1, 2, 4], [1, 1, 0, 1], [MID, MID, LAST, FIRST]) == [2.0, 0.0, 2]


def test_a_truncated_episode_bootstraps_with_its_own_final_observation():
    assert ahead([9, 1, 2, 4], [1, 1, 1, 1], [MID, MID, LAST, FIRST]) == [2.0, 0.25, 2]


def test_what_follows_the_end_of_an_episode_changes_nothing():
    quiet = ahead([9, 1, 0, 0], [1, 1, 1, 1], [FIRST, LAST, FIRST, MID])
    assert quiet == ahead([9, 1, 77, -5], [1, 1, 0, 0.3], [FIRST, LAST, FIRST, LAST]) == [1.0, 0.5, 1]


def test_one_step():
    assert ahead([9, 3], [1, 1], [FIRST, MID], gamma=0.9) == pytest.approx([3.0, 0.9, 1])


def slow_n_step(rewards, discounts, types, gamma):
    total, factor = 0.0, 1.0
    for index in range(1, len(rewards)):
        total += factor * rewards[index]
        factor *= gamma * discounts[index]
        if types[index] == LAST or index == len(rewards) - 1:
            return total, factor, index
    raise AssertionError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
def test_agrees_with_a_plain_loop(seed, steps, batch):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(steps + 1, batch)).astype("f4")
    types = rng.choice([FIRST, MID, MID, LAST], (steps + 1, batch)).astype("u1")
    discounts = np.where(types == LAST, rng.choice([0.0, 1.0], types.shape), 1.0).astype("f4")
    got = n_step(*map(ops.convert_to_tensor, (rewards, discounts, types)), 0.9)
    for b in range(batch):
        wanted = slow_n_step(rewards[:, b], discounts[:, b], types[:, b], 0.9)
        np.testing.assert_allclose([np.asarray(part)[b] for part in got], wanted, rtol=1e-5, atol=1e-6)


def test_rows_are_taken_at_each_columns_own_index():
    leaf = np.arange(24).reshape(3, 4, 2)
    taken = at_index(ops.convert_to_tensor(leaf), ops.convert_to_tensor(np.array([2, 0, 1, 2], "i4")))
    assert np.asarray(taken).tolist() == [
        leaf[2, 0].tolist(),
        leaf[0, 1].tolist(),
        leaf[1, 2].tolist(),
        leaf[2, 3].tolist(),
    ]


def test_squashing_by_hand_and_back():
    assert float(squash(ops.convert_to_tensor(3.0))) == pytest.approx(math.sqrt(4) - 1 + 0.003)
    assert float(squash(ops.convert_to_tensor(-8.0))) == pytest.approx(-(math.sqrt(9) - 1) - 0.008)
    values = np.array([-1000, -3.0, -0.1, 0, 0.5, 20, 1000], "f4")
    np.testing.assert_allclose(unsquash(squash(ops.convert_to_tensor(values))), values, rtol=2e-3, atol=1e-3)
