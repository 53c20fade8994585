"""Networks: the multilayer perceptron that is built where the user brings no network, and how nets are fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from corral.agents.agent import Tensor
from corral.agents.settings import NetworkSettings
from corral.protocol.specs import Spec, TensorSpec

_GAINS = {"logits": 0.01, "value": 1.0}
_HIDDEN_GAIN = 2.0**0.5


def build_network(settings: NetworkSettings, observation: Spec, outputs: Mapping[str, int | None]) -> keras.Model:
    """A perceptron from the leaves of an observation to named outputs.

    Leaves are flattened and joined: discrete ones as one-hot vectors, uint8 ones scaled to 0..1, others as
    they are. Weights begin orthogonal with gain sqrt(2), outputs with 0.01 (logits: nearly uniform) or 1;
    biases begin at 0, as implementations of PPO do (Huang et al. 2022, "The 37 implementation details").

    Args:
      observation: leaf name -> spec; the model takes a dictionary of these leaves, `[B, ...]`.
      outputs: output name -> width; None gives one number a row, of shape `[B]`.

    Returns:
      A model whose outputs are a dictionary of float32 tensors `[B, width]` or `[B]`.
    """
    inputs = {name: keras_input(name, leaf) for name, leaf in observation.items()}
    features = [_features(tensor, observation[name]) for name, tensor in inputs.items()]
    joined = features[0] if len(features) == 1 else layers.Concatenate(name="features")(features)
    if settings.shared:
        torsos = dict.fromkeys(outputs, _torso(settings, joined, "hidden"))
    else:
        torsos = {name: _torso(settings, joined, f"{name}_hidden") for name in outputs}
    heads = {name: _head(name, width, torsos[name]) for name, width in outputs.items()}
    return keras.Model({tensor.name: tensor for tensor in inputs.values()}, heads)


def keras_input(name: str, leaf: TensorSpec) -> Any:
    """The Keras input for one leaf."""
    return keras.Input(shape=leaf.shape, dtype=leaf.dtype, name=input_name(name))


def input_name(leaf: str) -> str:
    """A leaf's name as Keras takes it: no layer may have a "/" in its name."""
    return leaf.replace("/", ".")


def lowest_value(leaf: TensorSpec) -> int:
    """The lowest value of a discrete leaf."""
    assert leaf.minimum is not None
    return int(np.min(leaf.minimum))


def feed(net: keras.Model, observation: Mapping[str, Any]) -> Any:
    """The leaves of an observation, arranged as `net` takes its inputs.

    A functional model gets the structure it was built with, its inputs found by name, or the only leaf
    as its only input. Any other model gets the one leaf as a tensor, or several as a dictionary.

    Raises:
      ValueError: an input of the model is no leaf of the observation.
    """
    only = next(iter(observation.values())) if len(observation) == 1 else None
    structure = getattr(net, "_inputs_struct", None)
    if structure is None:
        return dict(observation) if only is None else only
    if only is not None and len(net.inputs) == 1:
        return keras.tree.map_structure(lambda _: only, structure)
    by_name = {input_name(name): tensor for name, tensor in observation.items()}
    wanted = [tensor.name for tensor in net.inputs]
    if set(wanted) != set(by_name):
        raise ValueError(f"the network's inputs are {wanted}, the observation's leaves {list(by_name)}")
    return keras.tree.map_structure(lambda tensor: by_name[tensor.name], structure)


def _features(tensor: Tensor, leaf: TensorSpec) -> Tensor:
    """float32 `[B, n]` of a leaf `[B, ...]`."""
    if leaf.shape == () and leaf.num_values is not None:
        return ops.one_hot(tensor - lowest_value(leaf), leaf.num_values)
    numbers = ops.cast(tensor, "float32")
    if leaf.dtype == "uint8":
        numbers = numbers / 255.0
    return numbers if len(leaf.shape) == 1 else ops.reshape(numbers, (-1, leaf.size))


def _torso(settings: NetworkSettings, tensor: Tensor, name: str) -> Tensor:
    for index, units in enumerate(settings.hidden):
        layer = name if index == 0 else f"{name}_{index}"
        tensor = _dense(units, _HIDDEN_GAIN, layer, settings.activation)(tensor)
    return tensor


def _head(name: str, width: int | None, tensor: Tensor) -> Tensor:
    head = _dense(width or 1, _GAINS.get(name, 1.0), name)(tensor)
    return head if width is not None else head[:, 0]


def _dense(units: int, gain: float, name: str, activation: str | None = None) -> layers.Dense:
    return layers.Dense(units, activation, kernel_initializer=keras.initializers.Orthogonal(gain), name=name)
