"""Observations in units of their own spread."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from corral.agents.agent import Tensor

CLIP = 10.0
"""How many deviations from the mean the farthest normalised number lies."""
_EPSILON = 1e-8
_FIRST_COUNT = 1e-4


@keras.saving.register_keras_serializable(package="corral")
class ObservationNorm(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """`(x - mean) / sqrt(variance + 1e-8)`, clipped to plus or minus 10: float32 `[B, ...]`.

    Mean and variance are those of all rows that it was called with in training, those of the present call among
    them, element by element. Before the first it changes nothing that lies within the clip.
    """

    mean: keras.Variable
    variance: keras.Variable
    count: keras.Variable

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the variables, of the shape of a row."""
        row = tuple(input_shape[1:])
        self.mean = self._statistic("mean", row, 0.0)
        self.variance = self._statistic("variance", row, 1.0)
        self.count = self._statistic("count", (), _FIRST_COUNT)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Normalises `inputs` `[B, ...]`; with `training` these rows count from now on."""
        rows = ops.cast(inputs, "float32")
        if training:
            self._see(rows)
        return ops.clip((rows - self.mean) / ops.sqrt(self.variance + _EPSILON), -CLIP, CLIP)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As it goes in."""
        return input_shape

    def _see(self, rows: Tensor) -> None:
        """The parallel update of Chan et al. 1979 ("Updating formulae and a pairwise algorithm")."""
        rows = ops.stop_gradient(rows)
        mean = ops.mean(rows, axis=0)
        variance = ops.mean(ops.square(rows - mean), axis=0)
        added = ops.cast(ops.shape(rows)[0], "float32")
        count = self.count + added
        # As shares of the whole, for sums of squares outgrow float32.
        old, new = self.count / count, added / count
        delta = mean - self.mean
        self.variance.assign(old * self.variance + new * variance + old * new * ops.square(delta))
        self.mean.assign(self.mean + new * delta)
        self.count.assign(count)

    def _statistic(self, name: str, shape: tuple[Any, ...], value: float) -> keras.Variable:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            shape=shape, initializer=initializer, dtype="float32", trainable=False, autocast=False, name=name
        )
