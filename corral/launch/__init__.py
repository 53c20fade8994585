"""The launchers: the experiment file, and what starts, watches and ends the processes of a run.

Nothing is imported until it is asked for: a launcher's first task is to start other processes soon.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Experiment": "experiment",
    "ExperimentError": "experiment",
    "load_experiment": "experiment",
    "run_locally": "local",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
