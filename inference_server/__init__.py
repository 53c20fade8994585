"""The inference server: `InferenceServer` and its settings. Nothing is imported until it is asked for."""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
