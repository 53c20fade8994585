"""Runs with several replicas, in 16 bits, at a chosen pace: CartPole is solved all the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.command import workplace

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

MOST_CHANGED = 0.02
"""Share of the greedy actions of a trained policy that bfloat16 changes, at most."""


@pytest.mark.parametrize(
    "settings",
    [
        ("server.precision=bfloat16",),
        ("server.precision=bfloat16", "server.replicas=2", "learner.device_share=0.7"),
    ],
    ids="+".join,
)
def test_cartpole_is_solved(settings: tuple[str, ...]) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    with workplace() as place:
        done = subprocess.run(
            ["corral", "run", "examples/cartpole.toml", "--summary", "summary.json", *options],
            cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((place.folder / "summary.json").read_text())["solved"]
        (policy,) = place.folder.glob("runs/*/policy.keras")
        changed = share_changed(policy)
        print(f"bfloat16 changes {changed:.2%} of the greedy actions")
        assert changed < MOST_CHANGED


def share_changed(policy: Path) -> float:
    """How many greedy actions of a saved policy change in bfloat16, over what it meets when it plays by itself."""
    import gymnasium
    import keras

    from corral.agents import ModelAgent, load_backend

    agent = ModelAgent(keras.models.load_model(policy, compile=False))
    compiled = load_backend().CompiledAct
    exact, rough = (compiled(agent, [8], precision=each) for each in ("float32", "bfloat16"))
    environments = gymnasium.make_vec("CartPole-v1", num_envs=8)
    seen, _ = environments.reset(seed=1)
    nothing, changed, steps = np.zeros((8, 0), np.float32), 0, 500
    for _ in range(steps):
        one, other = (
            act(8, {"observation": seen}, {}, np.zeros(8, bool), nothing, nothing)[0]["action"]
            for act in (exact, rough)
        )
        changed += int(np.count_nonzero(one != other))
        seen, *_ = environments.step(one)
    return changed / (8 * steps)
