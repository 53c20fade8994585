"""Exploration noise by counting: one environment and step draw the same numbers in whatever batch they ride."""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)


def environment_keys(seed: int, environment: np.ndarray) -> np.ndarray:
    """What `uniforms` hashes of each environment, uint64 `[n]`: it stays the same for an environment's whole life.

    Args:
      seed: the run's seed.
      environment: integers `[n]`, the run-wide environment numbers.
    """
    origin = np.uint64((seed + 1) * int(_GOLDEN) % (1 << 64))
    return _mix(environment.astype(np.uint64) + origin)


def seed_of_generation(seed: int, version: int) -> int:
    """What seeds exploration from policy version `version` on, where all begins anew then (`Lockstep`)."""
    return int(np.random.SeedSequence((seed, version)).generate_state(1)[0])


def uniforms(keys: np.ndarray, step: np.ndarray, width: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float32 `[n, width]`, hashed from `(seed, environment, step, column)`.

    The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), applied once per key.

    Args:
      keys: `environment_keys` of the rows' environments.
      step: integers `[n]`, a count that never repeats for one environment within a session.
      width: numbers per row.
    """
    key = _mix(keys ^ (step.astype(np.uint64) * _GOLDEN + _GOLDEN))
    columns = np.arange(1, width + 1, dtype=np.uint64) * _GOLDEN
    # 24 bits are all that a float32 in [0, 1) can tell apart; more would round up to 1.
    return (_mix(key[:, None] + columns) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x ^ (x >> _30)
    x *= _MIX_1
    x ^= x >> _27
    x *= _MIX_2
    x ^= x >> _31
    return x
