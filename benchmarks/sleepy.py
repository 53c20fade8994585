"""A network that takes a fixed time, whatever else the machine does: it sleeps, and leaves the cores alone."""

from __future__ import annotations

import os
import time
from typing import Any

import keras
import numpy as np

MS = float(os.environ.get("SLEEPY_MS", "10"))


@keras.saving.register_keras_serializable("benchmarks")
class Sleep(keras.layers.Layer):
    """Hands its input on after `MS` milliseconds."""

    def call(self, x: Any) -> Any:
        if keras.backend.backend() == "jax":
            import jax

            return jax.pure_callback(_sleep, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        import tensorflow as tf

        slept = tf.numpy_function(_sleep, [x], x.dtype)
        slept.set_shape(x.shape)
        return slept

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


def _sleep(x: Any) -> np.ndarray:
    time.sleep(MS * 1e-3)
    return np.asarray(x)


def build(observation: Any, action: Any) -> keras.Model:
    """For CartPole: what `agent.network.build` names."""
    x = keras.Input((4,), name="observation")
    h = Sleep()(keras.layers.Dense(8)(x))
    return keras.Model(x, {"logits": keras.layers.Dense(2)(h), "value": keras.layers.Dense(1)(h)})
