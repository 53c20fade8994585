from __future__ import annotations

import numpy as np

from inference_server.noise import environment_keys
from inference_server.noise import uniforms as uniforms_of


def uniforms(seed: int, environment: np.ndarray, step: np.ndarray, width: int) -> np.ndarray:
    return uniforms_of(environment_keys(seed, environment), step, width)


def test_it_depends_on_what_is_counted_and_on_nothing_else() -> None:
    environments, steps = np.arange(10), np.arange(10) * 7
    together = uniforms(3, environments, steps, 2)
    alone = np.concatenate([uniforms(3, environments[i : i + 1], steps[i : i + 1], 2) for i in range(10)])
    np.testing.assert_array_equal(together, alone)
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(uniforms(3, environments[order], steps[order], 2), together[order])


def test_seed_environment_step_and_column_all_count() -> None:
    base = uniforms(0, np.array([1]), np.array([1]), 2)
    assert base[0, 0] != base[0, 1]
    others = [uniforms(1, np.array([1]), np.array([1]), 2), uniforms(0, np.array([2]), np.array([1]), 2)]
    others.append(uniforms(0, np.array([1]), np.array([2]), 2))
    assert all((other != base).all() for other in others)


def test_it_is_uniform_and_independent_between_neighbours() -> None:
    environments, steps = (grid.ravel() for grid in np.meshgrid(np.arange(200), np.arange(500)))
    drawn = uniforms(7, environments, steps, 1)[:, 0]
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < drawn.max() < 1
    # 100,000 draws in 20 equal bins: chi-square with 19 degrees of freedom stays under 43.8 in 999 of 1,000 cases.
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8
    # The correlation of neighbours has a standard deviation of 1 / sqrt(100,000) = 0.003.
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.012
    assert abs(np.corrcoef(drawn[:-200], drawn[200:])[0, 1]) < 0.012
