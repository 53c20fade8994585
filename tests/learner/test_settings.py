"""What a learner may be told."""

from __future__ import annotations

from typing import Any

import pytest

from learner.settings import LearnerSettings, ReplaySettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 0, "min_size": 1}, "capacity must be 1 to 1000000000 steps, not 0"),
        ({"min_size": 0}, "min_size must be 1 to 1000000000 steps, not 0"),
        ({"slack": 0}, "slack must be 1 to 1000000000 steps, not 0"),
        ({"capacity": 10, "min_size": 11}, r"min_size must be at most capacity \(10\), not 11"),
        ({"samples_per_insert": 0.0}, "samples_per_insert must be more than 0 to 1000000, not 0.0"),
        ({"samples_per_insert": float("nan")}, "samples_per_insert must be more than 0"),
        ({"alpha": 1.1}, "alpha must be 0 to 1, not 1.1"),
        ({"beta": -0.1}, "beta must be 0 to 1, not -0.1"),
        ({"beta": float("nan")}, "beta must be 0 to 1, not nan"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplaySettings(**settings)


def test_a_replay_may_be_as_small_as_a_step() -> None:
    settings = ReplaySettings(capacity=1, min_size=1, slack=1, samples_per_insert=0.25, alpha=1.0, beta=1.0)
    assert LearnerSettings(replay=settings).replay is settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, 'devices must be 1 to 64 or "auto", not 0'),
        ({"devices": "all"}, 'devices must be 1 to 64 or "auto", not all'),
        ({"device_share": 0.0}, "device_share must be more than 0 to 1, not 0.0"),
        ({"device_share": 1.1}, "device_share must be more than 0 to 1, not 1.1"),
        ({"device_share": float("nan")}, "device_share must be more than 0 to 1, not nan"),
        ({"gpu_memory_mb": -1}, "gpu_memory_mb must be 0 to 10000000, not -1"),
    ],
)
def test_devices_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearnerSettings(**settings)
