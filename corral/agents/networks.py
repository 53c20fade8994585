"""Networks: what is built where the user brings no network, and how nets are fed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from corral.agents.agent import Call, Tensor, Tensors
from corral.agents.normalization import ObservationNorm
from corral.agents.settings import NetworkSettings
from corral.agents.torsos import SMALLEST, image_features, is_image
from corral.protocol.specs import Spec, TensorSpec, describe

NORM = "norm"
"""What an agent calls the net that normalises observations."""
ACTION_MASK = "action_mask"
"""The leaf that says which actions are allowed."""

_GAINS = {"logits": 0.01, "value": 1.0}
_HIDDEN_GAIN = 2.0**0.5


def build_network(settings: NetworkSettings, observation: Spec, outputs: Mapping[str, int | None]) -> keras.Model:
    """A network from the leaves of an observation to named outputs.

    Leaves become features and are joined: images by the convolutions that `settings.torso` names, discrete
    leaves as one-hot vectors, those of several discrete numbers as a one-hot vector for each; others are
    flattened, uint8 ones scaled to 0..1. An action mask is an input but no feature.

    Weights begin orthogonal with gain sqrt(2), outputs with 0.01 (logits: nearly uniform) or 1;
    biases begin at 0, as implementations of PPO do (Huang et al. 2022, "The 37 implementation details").

    Args:
      observation: leaf name -> spec; the model takes a dictionary of these leaves, `[B, ...]`.
      outputs: output name -> width; None gives one number a row, of shape `[B]`.

    Returns:
      A model whose outputs are a dictionary of float32 tensors `[B, width]` or `[B]`.

    Raises:
      ValueError: no leaf is a feature, or none the image that `settings.torso` needs.
    """
    inputs = _inputs(observation)
    if settings.shared:
        torsos = dict.fromkeys(outputs, _torso(settings, observation, inputs, ""))
    else:
        torsos = {name: _torso(settings, observation, inputs, f"{name}_") for name in outputs}
    return keras.Model(_by_input_name(inputs), {name: _head(name, outputs[name], torsos[name]) for name in outputs})


def build_torso(settings: NetworkSettings, observation: Spec) -> keras.Model:
    """The part of `build_network` below its outputs, shared by all of them.

    Returns:
      A model from a dictionary of the leaves, `[B, ...]`, to features, float32 `[B, n]`.

    Raises:
      ValueError: as `build_network` does.
    """
    inputs = _inputs(observation)
    return keras.Model(_by_input_name(inputs), _torso(settings, observation, inputs, ""))


def build_heads(features: int, outputs: Mapping[str, int | None]) -> keras.Model:
    """The outputs of `build_network`, from features `[B, features]`: the rest of what `build_torso` begins."""
    tensor = keras.Input((features,), name="features")
    return keras.Model(tensor, {name: _head(name, width, tensor) for name, width in outputs.items()})


def build_normalizer(observation: Spec) -> keras.Model:
    """A model from a dictionary of the leaves, `[B, ...]`, to another of the same shapes, both by `input_name`.

    Single float numbers and vectors of them go through an `ObservationNorm` of their own, which makes them
    float32; all else comes out as it went in.
    """
    inputs = _by_input_name(_inputs(observation))
    measured = {input_name(name) for name, leaf in observation.items() if _is_measured(leaf)}
    outputs = {
        name: ObservationNorm(name=f"{name}_norm")(tensor) if name in measured else tensor
        for name, tensor in inputs.items()
    }
    return keras.Model(inputs, outputs)


def normalized(
    call: Call, nets: Mapping[str, keras.Model], observation: Tensors, *, training: bool = False
) -> Tensors:
    """An observation as the net "norm" makes it; as it is where `nets` has none.

    Args:
      training: the net takes in what it sees.
    """
    if NORM not in nets:
        return observation
    out = call(NORM, feed(nets[NORM], observation), training=training)
    return {name: out[input_name(name)] for name in observation}


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


def is_action_mask(name: str, leaf: TensorSpec) -> bool:
    """Whether a leaf says which actions are allowed: called "action_mask", a bool or integer for each action."""
    return name == ACTION_MASK and len(leaf.shape) == 1 and np.dtype(leaf.dtype).kind in "biu"


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


def _inputs(observation: Spec) -> dict[str, Tensor]:
    """Leaf name -> Keras input."""
    return {name: keras_input(name, leaf) for name, leaf in observation.items()}


def _by_input_name(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in inputs.values()}


def _torso(settings: NetworkSettings, observation: Spec, inputs: Mapping[str, Tensor], lead: str) -> Tensor:
    """Features `[B, n]` behind the last hidden layer; the names of layers begin with `lead`."""
    leaves = {name: leaf for name, leaf in observation.items() if not is_action_mask(name, leaf)}
    if not leaves:
        raise ValueError(f"the observation has no leaf to make features of: it is {describe(observation)}")
    if settings.torso in ("nature_cnn", "impala") and not any(map(is_image, leaves.values())):
        raise ValueError(
            f"the torso {settings.torso!r} needs an image, uint8[height, width, channels] of {SMALLEST}x{SMALLEST} "
            f"pixels or more; the observation is {describe(observation)}"
        )
    features = [
        _features(settings, inputs[name], leaf, f"{lead}{input_name(name)}") for name, leaf in leaves.items()
    ]
    tensor = features[0] if len(features) == 1 else layers.Concatenate(name=f"{lead}features")(features)
    for index, units in enumerate(settings.hidden):
        name = f"{lead}hidden" if index == 0 else f"{lead}hidden_{index}"
        tensor = _dense(units, _HIDDEN_GAIN, name, settings.activation)(tensor)
    return tensor


def _features(settings: NetworkSettings, tensor: Tensor, leaf: TensorSpec, name: str) -> Tensor:
    """float32 `[B, n]` of a leaf `[B, ...]`."""
    if settings.torso != "mlp" and is_image(leaf):
        return image_features("nature_cnn" if settings.torso == "auto" else settings.torso, tensor, leaf, name)
    if leaf.shape == () and leaf.num_values is not None:
        return ops.one_hot(tensor - lowest_value(leaf), leaf.num_values)
    if (values := _values_of_each(leaf)) is not None:
        owner = np.repeat(np.arange(len(values)), [len(each) for each in values])
        numbers = ops.take(ops.cast(tensor, "int32"), owner, axis=1)
        return ops.cast(ops.equal(numbers, np.concatenate(values).astype("int32")), "float32")
    numbers = ops.cast(tensor, "float32")
    if leaf.dtype == "uint8":
        numbers = numbers / 255.0
    return numbers if len(leaf.shape) == 1 else ops.reshape(numbers, (-1, leaf.size))


def _values_of_each(leaf: TensorSpec) -> list[np.ndarray] | None:
    """The values of each element of a MultiDiscrete leaf, else None."""
    lows, highs = leaf.minimum, leaf.maximum
    if len(leaf.shape) != 1 or leaf.num_values is None:
        return None
    # One bound for all is MultiBinary. The bounds of a Box are floats, whatever its dtype: it measures.
    if not (isinstance(lows, tuple) and isinstance(highs, tuple) and all(isinstance(b, int) for b in lows + highs)):
        return None
    return [np.arange(low, high + 1) for low, high in zip(lows, highs, strict=True)]


def _is_measured(leaf: TensorSpec) -> bool:
    return np.dtype(leaf.dtype).kind == "f" and len(leaf.shape) <= 1


def _head(name: str, width: int | None, tensor: Tensor) -> Tensor:
    head = _dense(width or 1, _GAINS.get(name, 1.0), name)(tensor)
    return head if width is not None else head[:, 0]


def _dense(units: int, gain: float, name: str, activation: str | None = None) -> layers.Dense:
    return layers.Dense(units, activation, kernel_initializer=keras.initializers.Orthogonal(gain), name=name)
