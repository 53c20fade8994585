"""An agent's greedy policy as a Keras model by itself: to save, to serve, to load elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from corral.agents.agent import Call, Tensors
from corral.agents.networks import keras_input
from corral.protocol.specs import Spec


def greedy_model(
    nets: Mapping[str, keras.Model],
    observation: Spec,
    state: Spec,
    act: Callable[[Call, Tensors, Tensors], Tensors],
) -> keras.Model:
    """A model of the observation's leaves and those of the state, which shares its weights with `nets`.

    Args:
      act: makes the outputs, next state included, of a way to call nets, an observation and a state.
    """
    seen, before = ({name: keras_input(name, leaf) for name, leaf in spec.items()} for spec in (observation, state))

    def call(name: str, *inputs: Any, training: bool = False) -> Any:
        # Nothing is said of training: whoever loads the model may train it on.
        return nets[name](*inputs)

    entered = {tensor.name: tensor for tensor in (*seen.values(), *before.values())}
    return keras.Model(entered, act(call, seen, before))
