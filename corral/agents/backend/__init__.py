"""Backends: the only places that know gradients, compilation and how weights are packed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

TRAINING = ("tensorflow", "jax")
"""The Keras backends that Corral trains on; it serves on them, too."""
SUPPORTED = (*TRAINING, "torch")
"""The Keras backends that Corral serves on."""


class BackendError(RuntimeError):
    """Keras runs on a backend that cannot do what is wanted: the text says which can, and how to choose one."""


def load_backend() -> ModuleType:
    """The module for the backend that Keras runs on: `CompiledAct`, `Trainer`, and what there is to set up.

    Raises:
      BackendError: Keras runs on a backend that Corral does not support.
    """
    import keras

    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise BackendError(f"Keras runs on {name!r}, which Corral does not know: {how_to_choose(SUPPORTED)}")
    return import_module(f"{__name__}.{name}")


def how_to_choose(backends: tuple[str, ...]) -> str:
    """What a person has to do for Keras to run on one of these."""
    *most, last = (f"KERAS_BACKEND={name}" for name in backends)
    return f"set {', '.join(most)} or {last} before Keras is imported"
