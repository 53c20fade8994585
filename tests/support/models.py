"""Small Keras models for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_stubborn_policy(path: Path, action: int) -> None:
    """A saved policy for one discrete number, as `Agent.policy` makes it, that always does the same."""
    import keras

    observation = keras.Input((), dtype="int64", name="observation")
    keras.Model({"observation": observation}, {"action": 0 * observation + action}).save(path)


def save_two_headed_model(path: Path) -> Any:
    """A saved model of four numbers in, two logits and a value out; the model itself."""
    import keras

    keras.utils.set_random_seed(1)
    observation = keras.Input((4,), name="observation")
    hidden = keras.layers.Dense(16, activation="tanh")(observation)
    heads = {"logits": keras.layers.Dense(2)(hidden), "value": keras.layers.Dense(1)(hidden)}
    model = keras.Model(observation, heads)
    model.save(path)
    return model
