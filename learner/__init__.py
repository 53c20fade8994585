"""Training: the learner, and its two ends for a training loop of your own.

`UnrollSource` hands out batches of trajectories, `WeightPublisher` pushes new weights to the servers. Nothing is
imported until it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Learner": "learner",
    "LearnerSettings": "settings",
    "UnrollSource": "unroll_source",
    "WeightPublisher": "weight_publisher",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
