"""Agents: what a policy does (`act`) and how it learns (`losses`). No sockets, no threads.

Nothing is imported until it is asked for: `corral.agents.settings` and this package itself stay free of
Keras, so that a command line or an actor machine can read an experiment file without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Agent": "agent",
    "AgentSettings": "settings",
    "AgentSpec": "agent",
    "ModelAgent": "model",
    "NetworkSettings": "settings",
    "OptimizerSettings": "settings",
    "VTraceAgent": "vtrace",
    "build_agent": "build",
    "build_network": "networks",
    "load_backend": "backend",
    "weights_of": "weights",
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
