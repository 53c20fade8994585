"""Nets as agents call them, and copies of nets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from corral.agents.agent import Call


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
