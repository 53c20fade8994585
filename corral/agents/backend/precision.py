"""Nets that compute in another precision than the one that they are trained in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from corral.agents.agent import Call
from corral.agents.normalization import ObservationNorm
from corral.agents.settings import Precision


class PrecisionError(ValueError):
    """A policy cannot act in a precision: says which, and why."""


def cast_net(net: keras.Model, precision: Precision) -> keras.Model:
    """A copy of `net`, its weights too, whose layers compute in `precision`.

    An `ObservationNorm` keeps to float32: what it takes the mean off may be far larger than what is left.

    Raises:
      PrecisionError: the net cannot be copied, or none of it takes on the precision.
    """
    policy = keras.config.dtype_policy()

    def copied(layer: Any) -> Any:
        copy = layer.__class__.from_config(layer.get_config())
        if isinstance(layer, keras.Layer) and not isinstance(layer, ObservationNorm):
            copy.dtype_policy = keras.DTypePolicy(precision)  # of one whose configuration does not tell it, too
            _draw_nothing(copy)
        return copy

    try:
        keras.config.set_dtype_policy(precision)  # for what layers make inside themselves
        clone = keras.models.clone_model(net, clone_function=copied, recursive=True)
        clone.set_weights(net.get_weights())
    except Exception as error:  # layers of the user's own may fail in any way
        raise PrecisionError(f"it cannot be copied into {precision}: {type(error).__name__}: {error}") from error
    finally:
        keras.config.set_dtype_policy(policy)
    floats = [variable for variable in clone.trainable_variables if "float" in variable.dtype]
    if floats and not any(variable.dtype == precision for variable in floats):
        raise PrecisionError(
            f"its layers keep to {floats[0].dtype}, whatever they are told: they must pass **kwargs, dtype among "
            f"them, on to keras.layers.Layer to compute in {precision}"
        )
    return clone


def in_float32(call: Call) -> Call:
    """`call`, with all numbers that nets put out in float32: what is made of them, such as a distribution and the
    log-probability of what is drawn from it, is as exact as it is without."""

    def widened(name: str, *inputs: Any, training: bool = False) -> Any:
        return keras.tree.map_structure(_widened, call(name, *inputs, training=training))

    return widened


def cast_nets(nets: Mapping[str, keras.Model], precision: Precision) -> dict[str, keras.Model]:
    """`cast_net` of each.

    Raises:
      PrecisionError: one cannot be cast; the text has its name.
    """
    made = {}
    for name, net in nets.items():
        try:
            made[name] = cast_net(net, precision)
        except PrecisionError as error:
            raise PrecisionError(f"the net {name!r} cannot act in {precision}: {error}") from error
    return made


def _draw_nothing(layer: keras.Layer) -> None:
    """Has a layer begin with zeros: its weights are set anyway, and not every initializer knows every precision."""
    for each in layer._flatten_layers():
        for name in vars(each):
            if name.endswith("_initializer"):
                setattr(each, name, keras.initializers.Zeros())


def _widened(tensor: Any) -> Any:
    narrow = keras.backend.standardize_dtype(tensor.dtype) in ("bfloat16", "float16")
    return ops.cast(tensor, "float32") if narrow else tensor
