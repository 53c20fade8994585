"""The models in Keras, for what people do without a server: the same networks that `corral bench` serves."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from load import Answer, Load

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    import keras


@functools.cache
def model(load: Load) -> keras.Model:
    """This process's network `load.model`, from observations to logits and value."""
    import keras
    from keras import layers

    shape, dtype = load.row
    observation = keras.Input(shape, dtype=np.dtype(dtype).name)
    if load.model == "mlp":
        hidden = layers.Dense(64, "tanh")(layers.Dense(64, "tanh")(observation))
    else:
        hidden = layers.Rescaling(1 / 255)(observation)
        for filters, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            hidden = layers.Conv2D(filters, size, stride, activation="relu")(hidden)
        hidden = layers.Dense(512, "relu")(layers.Flatten()(hidden))
    return keras.Model(observation, [layers.Dense(load.actions)(hidden), layers.Dense(1)(hidden)])


@functools.cache
def compiled(load: Load, threads: int) -> Callable[[np.ndarray], Answer]:
    """This process's one compiled function of exactly `load.rows` rows, the fastest public way to call a model.

    `threads` is how many TensorFlow may compute one call with; 0 leaves that to TensorFlow.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    shape, dtype = load.row
    function = tf.function(model(load)).get_concrete_function(tf.TensorSpec((load.rows, *shape), dtype))

    def ask(observation: np.ndarray) -> Answer:
        logits, values = function(tf.constant(observation))
        return logits.numpy(), values.numpy()

    return ask


def versions() -> str:
    """What the figures hold for."""
    return f"TensorFlow {version('tensorflow')}, Keras {version('keras')}"
