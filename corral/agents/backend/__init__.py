"""Backends: the only places that know gradients, compilation and how weights are packed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

SUPPORTED = ("tensorflow", "jax")
"""The Keras backends that Corral serves and trains on."""


def load_backend() -> ModuleType:
    """The module for the backend that Keras runs on: `CompiledAct`, `Trainer` and `configure`.

    Raises:
      RuntimeError: Keras runs on a backend that Corral does not support.
    """
    import keras

    name = keras.backend.backend()
    if name not in SUPPORTED:
        raise RuntimeError(
            f"Keras runs on {name!r}, but Corral supports {' and '.join(SUPPORTED)}: "
            f"set {' or '.join(f'KERAS_BACKEND={each}' for each in SUPPORTED)} before Keras is imported"
        )
    return import_module(f"{__name__}.{name}")
