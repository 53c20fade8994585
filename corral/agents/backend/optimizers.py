"""The optimizers that settings name, and what a checkpoint keeps of them."""

from __future__ import annotations

from typing import Any

import keras

from corral.agents.settings import OptimizerSettings


def make_optimizer(settings: OptimizerSettings, times: float = 1.0) -> keras.optimizers.Optimizer:
    """The Keras optimizer that the settings name; it works element by element and clips nothing.

    Args:
      times: what learning rates are multiplied by.
    """
    rate: Any = settings.learning_rate * times
    if settings.decay_steps:
        rate = keras.optimizers.schedules.PolynomialDecay(
            rate, settings.decay_steps, settings.final_learning_rate * times, power=1.0
        )
    if settings.name == "adam":
        return keras.optimizers.Adam(rate, epsilon=settings.epsilon)
    if settings.name == "rmsprop":
        return keras.optimizers.RMSprop(rate, rho=0.99, epsilon=settings.epsilon)
    return keras.optimizers.SGD(rate)


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """All but a learning rate, which is the settings' to give; by position, as Keras' names vary."""
    variables = [v for v in optimizer.variables if not v.path.endswith("/learning_rate")]
    return {str(index): variable for index, variable in enumerate(variables)}
