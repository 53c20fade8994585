"""A layer class of a user's own, registered where its module is imported."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tests")
class Lean(keras.layers.Layer):
    """Pushes a cart to the side that its pole leans to: int64 `[B]`."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.cast(inputs[:, 2] > 0, "int64")
