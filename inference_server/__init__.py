"""The inference server: `InferenceServer` and its settings. Nothing is imported until it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "BatchingSettings": "settings",
    "InferenceServer": "server",
    "ServerSettings": "settings",
    "UnrollSettings": "settings",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
