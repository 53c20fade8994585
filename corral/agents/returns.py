"""Returns: value targets and advantages from trajectories, time-major, in `keras.ops`."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from corral.agents.agent import Tensor
from corral.agents.settings import AgentSettings
from corral.protocol.unrolls import StepType

_SQUASH = 1e-3


class VTrace(NamedTuple):
    """What V-trace makes of a trajectory; gradients do not flow through it.

    Attributes:
      targets: float32 `[T, B]`: v_s, what V(x_s) should be.
      advantages: float32 `[T, B]`: what the gradient of log pi(a_s | x_s) is scaled by, 0 where masked.
    """

    targets: Tensor
    advantages: Tensor


def vtrace(
    values: Tensor,
    rewards: Tensor,
    discounts: Tensor,
    log_rhos: Tensor,
    mask: Tensor,
    *,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
    clip_pg_rho: float = 1.0,
    lambda_: float = 1.0,
) -> VTrace:
    """V-trace targets and policy-gradient advantages (Espeholt et al. 2018, "IMPALA", section 4.1).

    With rho_t = min(rho-bar, pi(a_t|x_t) / mu(a_t|x_t)) and c_t = lambda min(c-bar, pi / mu), equation 1
    in the recursive form of the paper's remark 1:

        v_s = V(x_s) + rho_s (r_s + gamma_s V(x_{s+1}) - V(x_s)) + gamma_s c_s (v_{s+1} - V(x_{s+1}))

    and the advantage of section 4.2, whose next value follows lambda so that it is the generalised
    advantage (Schulman et al. 2016) of on-policy data, and the paper's own for lambda = 1:

        A_s = rho_s (r_s + gamma_s (V(x_{s+1}) + lambda (v_{s+1} - V(x_{s+1}))) - V(x_s))

    A masked transition, one that joins two episodes, neither earns nor passes anything on: there
    v_s = V(x_s) and A_s = 0. So the end of an episode bootstraps with V of its own final observation,
    times a discount that is 0 if the episode terminated.

    Args:
      values: float32 `[T + 1, B]`: V(x_0) to V(x_T).
      rewards: float32 `[T, B]`: what each transition earned.
      discounts: float32 `[T, B]`: gamma, or 0 where the transition terminated its episode.
      log_rhos: float32 `[T, B]`: log pi(a|x) - log mu(a|x).
      mask: float32 `[T, B]`: 1 for a transition, 0 for the join of two episodes.
    """
    values, log_rhos = ops.stop_gradient(values), ops.stop_gradient(log_rhos)
    rhos = ops.exp(log_rhos)
    now, following = values[:-1], values[1:]
    errors = mask * ops.minimum(rhos, clip_rho) * (rewards + discounts * following - now)
    traces = mask * discounts * lambda_ * ops.minimum(rhos, clip_c)
    corrections = _discounted_sums(errors, traces)  # v_s - V(x_s)
    beyond = ops.concatenate([corrections[1:], ops.zeros_like(corrections[:1])], axis=0)
    q_values = rewards + discounts * (following + lambda_ * beyond)
    advantages = mask * ops.minimum(rhos, clip_pg_rho) * (q_values - now)
    return VTrace(now + corrections, advantages)


class NStep(NamedTuple):
    """Where an n-step target of a sequence's first transition ends.

    Attributes:
      reward: float32 `[B]`: the discounted rewards up to there.
      discount: float32 `[B]`: what the value there is worth now; 0 where the episode terminated.
      end: int32 `[B]`: the index of the observation there, 1 to n.
    """

    reward: Tensor
    discount: Tensor
    end: Tensor


def n_step(rewards: Tensor, discounts: Tensor, step_type: Tensor, gamma: float) -> NStep:
    """The n-step target of the transition that leaves index 0 (Sutton and Barto 2018, equation 7.1). It ends with
    its episode where that is shorter:

        R = sum_{i < e} gamma^i r_{i+1},    D = gamma^e prod_{i <= e} d_i

    where e is the first index that is LAST, or n. So a truncated episode bootstraps with its own final observation,
    and a terminated one, whose discount there is 0, with nothing.

    Args:
      rewards, discounts: float32 `[n + 1, B]`, as unrolls have them: what arrived with each observation.
      step_type: `[n + 1, B]`.
      gamma: the discount of one step.
    """
    steps = rewards.shape[0] - 1
    going = ops.ones_like(rewards[0])
    reward, discount, end = ops.zeros_like(going), ops.ones_like(going), ops.zeros_like(step_type[0], dtype="int32")
    for index in range(1, steps + 1):
        reward = reward + going * discount * rewards[index]
        discount = discount * ops.where(going > 0, gamma * discounts[index], 1.0)
        end = end + ops.cast(going, "int32")
        going = going * ops.cast(step_type[index] != StepType.LAST, "float32")
    return NStep(reward, discount, end)


def at_index(leaf: Tensor, index: Tensor) -> Tensor:
    """The rows `leaf[index[b], b]`, `[B, ...]`, of a leaf `[T, B, ...]`."""
    length, batch = leaf.shape[0], index.shape[0]
    flat = ops.reshape(leaf, (length * batch, *leaf.shape[2:]))
    return ops.take(flat, index * batch + ops.arange(batch, dtype=index.dtype), axis=0)


def squash(value: Tensor) -> Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x: large values on a smaller scale (Pohlen et al. 2018)."""
    return ops.sign(value) * (ops.sqrt(ops.abs(value) + 1.0) - 1.0) + _SQUASH * value


def unsquash(value: Tensor) -> Tensor:
    """The inverse of `squash` (Pohlen et al. 2018, proposition A.2)."""
    root = ops.sqrt(1.0 + 4.0 * _SQUASH * (ops.abs(value) + 1.0 + _SQUASH))
    return ops.sign(value) * (ops.square((root - 1.0) / (2.0 * _SQUASH)) - 1.0)


def _discounted_sums(terms: Tensor, factors: Tensor) -> Tensor:
    """y_t = terms_t + factors_t y_{t+1}, with y_T = 0: `[T, B]`, unrolled over the static T."""
    length = terms.shape[0]
    each_term, each_factor = ops.unstack(terms, length), ops.unstack(factors, length)
    sums = [each_term[-1]]
    for term, factor in zip(each_term[-2::-1], each_factor[-2::-1], strict=True):
        sums.append(term + factor * sums[-1])
    return ops.stack(sums[::-1])


def scale_rewards(rewards: Tensor, settings: AgentSettings) -> Tensor:
    """Rewards as they are learned from: clipped, then scaled, as the settings say."""
    return clip_rewards(rewards, settings.reward_clip) * settings.reward_scale


def clip_rewards(rewards: Tensor, limit: float) -> Tensor:
    """Rewards within plus or minus `limit`; 0 clips none."""
    return ops.clip(rewards, -limit, limit) if limit > 0 else rewards
