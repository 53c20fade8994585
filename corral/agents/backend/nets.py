"""Nets as agents call them, and copies of nets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from corral.agents.agent import Call
from corral.agents.backend.precision import cast_nets
from corral.agents.settings import Precision


def caller(nets: Mapping[str, keras.Model]) -> Call:
    """Applies nets, in inference mode unless told otherwise: the learner's policy must be the one that acted."""

    def call(name: str, *inputs: Any, training: bool = False) -> Any:
        return nets[name](*inputs, training=training)

    return call


def clone_net(net: keras.Model) -> keras.Model:
    """A net of the same weights, in variables of its own."""
    clone = keras.models.clone_model(net)
    clone.set_weights(net.get_weights())
    return clone


def replica_nets(nets: Mapping[str, keras.Model], clone: bool, precision: Precision) -> dict[str, keras.Model]:
    """The nets of a replica: copies where it is a clone or computes in another precision, else these.

    Raises:
      PrecisionError: a net cannot be cast.
    """
    if precision != "float32":
        return cast_nets(nets, precision)
    return {name: clone_net(net) for name, net in nets.items()} if clone else dict(nets)
