"""`corral run` with every process on JAX: V-trace and DDPG learn."""

from __future__ import annotations

import pytest

from tests.support.command import workplace


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("experiment", "target"), [("cartpole", 150), ("pendulum_ddpg", -700)])
def test_it_learns(experiment: str, target: int) -> None:
    """By chance CartPole returns 20 or so, and Pendulum -1,200."""
    with workplace() as place:
        options = (f"--set=run.target_return={target}", "--set=run.max_env_steps=200000")
        ran = place.corral("run", f"examples/{experiment}.toml", *options, timeout_s=380, KERAS_BACKEND="jax")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.splitlines()[-1].startswith("solved: mean return ")
        assert place.leftovers() == []
