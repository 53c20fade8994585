"""Acting at random until there is something to act by."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from corral.agents.agent import Call, Tensor

TRAINED = "trained"


@keras.saving.register_keras_serializable(package="corral")
class Trained(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Whether training has begun: 1 from the first call in training on, 0 before; of its input's shape, float32.

    It is kept like a weight, and so travels with the weights to servers, and into checkpoints.
    """

    begun: keras.Variable

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the variable."""
        self.begun = self.add_weight(
            shape=(), initializer="zeros", dtype="float32", trainable=False, autocast=False, name="begun"
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Says so for each of `inputs`, whatever these are; with `training` it has begun from now on."""
        if training:
            self.begun.assign(ops.ones(()))
        return ops.ones_like(inputs) * self.begun

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """As it goes in."""
        return input_shape


def build_trained() -> keras.Model:
    """A net that says of `[B, 1]` numbers, whatever they are, whether training has begun."""
    asked = keras.Input((1,), name="asked")
    return keras.Model(asked, Trained(name="trained")(asked))


def at_random(call: Call, explore: Tensor) -> Tensor:
    """Which rows act at random: all that explore, until training has begun; bool `[B, 1]`.

    Args:
      call: applies the net "trained".
      explore: float32 `[B, 1]`: how much each row explores.
    """
    return ops.logical_and(explore > 0, call(TRAINED, explore) < 0.5)


def begin(call: Call) -> Any:
    """To be called in a training step: from then on nothing is `at_random`."""
    return call(TRAINED, ops.ones((1, 1)), training=True)
