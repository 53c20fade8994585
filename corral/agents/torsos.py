"""Torsos: the convolutional networks that make features of images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Literal, TypeAlias

import keras
from keras import layers, ops

from corral.agents.agent import Tensor
from corral.protocol.specs import TensorSpec

ImageTorso: TypeAlias = Literal["nature_cnn", "impala"]

SMALLEST = 36
"""Pixels of an image's shorter side, at the least: what the convolutions of `nature_cnn` make one position of."""

_SECTIONS = (16, 32, 32)


def is_image(leaf: TensorSpec) -> bool:
    """Whether a leaf is an image: uint8 `[height, width, channels]` of 36x36 pixels or more.

    So is `[channels, height, width]`, as frames come where they are stacked along a new first axis.
    """
    if leaf.dtype != "uint8" or len(leaf.shape) != 3 or 0 in leaf.shape:
        return False
    return min(leaf.shape[:2]) >= SMALLEST or _channels_first(leaf)


def image_features(torso: ImageTorso, image: Tensor, leaf: TensorSpec, name: str) -> Tensor:
    """What a torso makes of images: float32 `[B, 512]` (nature_cnn) or `[B, 256]` (impala).

    Args:
      image: uint8 `[B, height, width, channels]` or `[B, channels, height, width]`, symbolic.
      leaf: what the images are.
      name: what the names of layers begin with.
    """
    pixels = ops.cast(image, "float32") / 255.0
    if _channels_first(leaf):
        pixels = ops.transpose(pixels, (0, 2, 3, 1))
    return _nature_cnn(pixels, name) if torso == "nature_cnn" else _impala(pixels, name)


def _channels_first(leaf: TensorSpec) -> bool:
    channels, *sides = leaf.shape
    return channels < SMALLEST <= min(sides)


def _nature_cnn(pixels: Tensor, name: str) -> Tensor:
    """The network of Mnih et al. 2015 ("Human-level control through deep reinforcement learning", Methods).

    Weights begin orthogonal with gain sqrt(2), biases at 0, as implementations of PPO for Atari do (Huang et al.
    2022, "The 37 implementation details").

    Args:
      pixels: float32 `[B, height, width, channels]` in 0..1.

    Returns:
      float32 `[B, 512]`.
    """
    convolve, tensor = _convolutions(name, "valid", lambda: keras.initializers.Orthogonal(2.0**0.5)), pixels
    for filters, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        tensor = ops.relu(convolve(tensor, filters, size, stride))
    return _dense(512, keras.initializers.Orthogonal(2.0**0.5), name)(layers.Flatten()(tensor))


def _impala(pixels: Tensor, name: str) -> Tensor:
    """The deep residual network of Espeholt et al. 2018 ("IMPALA", figure 3, right), without its LSTM.

    Weights begin normal with deviation 1 / sqrt(inputs), truncated, and biases at 0, as in the paper's code.

    Args:
      pixels: float32 `[B, height, width, channels]` in 0..1.

    Returns:
      float32 `[B, 256]`.
    """
    convolve, tensor = _convolutions(name, "same", keras.initializers.LecunNormal), pixels
    for filters in _SECTIONS:
        tensor = convolve(tensor, filters, 3, 1)
        tensor = layers.MaxPooling2D(3, 2, "same", data_format="channels_last")(tensor)
        for _ in range(2):
            inner = convolve(ops.relu(tensor), filters, 3, 1)
            tensor = tensor + convolve(ops.relu(inner), filters, 3, 1)
    return _dense(256, keras.initializers.LecunNormal(), name)(layers.Flatten()(ops.relu(tensor)))


def _convolutions(
    name: str, padding: str, initializer: Callable[[], keras.Initializer]
) -> Callable[[Tensor, int, int, int], Tensor]:
    """`convolve(tensor, filters, size, stride)`, each time by a layer of its own: name_conv, name_conv_1, ..."""
    numbers = count()

    def convolve(tensor: Tensor, filters: int, size: int, stride: int) -> Tensor:
        number = next(numbers)
        layer = layers.Conv2D(
            filters,
            size,
            stride,
            padding,
            data_format="channels_last",
            kernel_initializer=initializer(),
            name=f"{name}_conv_{number}" if number else f"{name}_conv",
        )
        return layer(tensor)

    return convolve


def _dense(units: int, initializer: keras.Initializer, name: str) -> layers.Dense:
    return layers.Dense(units, "relu", kernel_initializer=initializer, name=f"{name}_dense")
