"""Random actions that an environment takes, and how long its steps are found to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from actor_client.spaces import action_spec
from corral.bench.think import host_environment, random_actions


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 5, 3]),
        spaces.MultiDiscrete([2, 5], start=[-1, 4]),
        spaces.MultiBinary(4),
        spaces.Box(0.0, 5.0, (2, 3)),
        spaces.Box(np.array([-2.0, 3.0], np.float32), np.array([0.0, 9.0], np.float32)),
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(3.0, np.inf, (2,)),
        spaces.Box(0, 255, (3,), np.uint8),
        spaces.Box(-np.inf, -7.0, (1,), np.float64),
    ],
    ids=str,
)
def test_actions_lie_in_their_space(space: gymnasium.Space[Any]) -> None:
    actions = random_actions(action_spec(space), 50, np.random.default_rng(0))
    assert all(space.contains(each) for each in actions.astype(space.dtype))
    assert len(np.unique(actions, axis=0)) > 1


class _Wire:
    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def tell(self, **message: Any) -> None:
        self.told = message


@pytest.mark.parametrize("vectorization", ["auto", "none"])
def test_an_environment_is_stepped_for_a_while(vectorization: str, tmp_path: Path) -> None:
    tables = {
        "environment": {"id": "CartPole-v1", "vectorization": vectorization},
        "actor": {"environments": 3},
    }
    file = tmp_path / "experiment.json"
    file.write_text(json.dumps(tables))
    wire = _Wire()
    host_environment({"experiment": str(file), "seconds": 0.05}, wire)  # type: ignore[arg-type]
    assert wire.told["steps"] >= 1
    assert 0 < wire.told["step_s"] <= 5
    assert wire.told["computing"] > 0
