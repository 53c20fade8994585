"""The inference server: `InferenceServer` and its settings. Nothing heavy is imported until it is asked for."""

from __future__ import annotations

from typing import Any

from inference_server.settings import BatchingSettings, ServerSettings, UnrollSettings

__all__ = ["BatchingSettings", "InferenceServer", "ServerSettings", "UnrollSettings"]


def __getattr__(name: str) -> Any:
    if name == "InferenceServer":
        from inference_server.server import InferenceServer

        return InferenceServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
