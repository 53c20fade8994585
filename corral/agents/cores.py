"""Cores: what carries a memory from one step to the next."""

from __future__ import annotations

from typing import Literal, TypeAlias

import keras
from keras import layers, ops

from corral.agents.agent import Tensor, Tensors
from corral.protocol.specs import TensorSpec

CoreKind: TypeAlias = Literal["lstm", "gru"]


def core_state(kind: CoreKind, units: int) -> dict[str, TensorSpec]:
    """The leaves of a core's state, one row of each: "h" and "c" of an LSTM, "h" of a GRU. It begins as zeros."""
    return {name: TensorSpec((units,), "float32") for name in (("h", "c") if kind == "lstm" else ("h",))}


def build_core(kind: CoreKind, units: int, features: int) -> keras.Model:
    """One step of a recurrent core.

    It is made of dense layers, not of Keras' cells: those keep a random state for their dropout among their
    variables, which would be published with every weight. Weights begin orthogonal, biases at 0.

    Args:
      units: size of the output and of each leaf of the state.
      features: size of what goes in.

    Returns:
      A model that takes a dictionary of "features" `[B, features]` and the leaves of `core_state`, `[B, units]`,
      and returns one of "output" `[B, units]` and the next state, all float32.
    """
    x = keras.Input((features,), name="features")
    state = {name: keras.Input(leaf.shape, name=name) for name, leaf in core_state(kind, units).items()}
    after = _lstm(x, state["h"], state["c"], units) if kind == "lstm" else _gru(x, state["h"], units)
    return keras.Model({"features": x, **state}, {"output": after["h"], **after})


def _lstm(x: Tensor, h: Tensor, c: Tensor, units: int) -> Tensors:
    """The next state (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):

        i, f, g, o = W x + R h + b
        c' = sigmoid(f + 1) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')

    The 1 keeps the gate open at first, so that the core begins by remembering (Jozefowicz et al. 2015).
    """
    gates = _dense(4 * units, "input")(x) + _dense(4 * units, "recurrent", bias=False)(h)
    i, f, g, o = ops.split(gates, 4, axis=-1)
    c = ops.sigmoid(f + 1.0) * c + ops.sigmoid(i) * ops.tanh(g)
    return {"h": ops.sigmoid(o) * ops.tanh(c), "c": c}


def _gru(x: Tensor, h: Tensor, units: int) -> Tensors:
    """The next state (Cho et al. 2014, the reset gate after the product, as in cuDNN):

        z, r, n = W x + b
        z_h, r_h, n_h = R h + b_h
        h' = k h + (1 - k) tanh(n + sigmoid(r + r_h) n_h), where k = sigmoid(z + z_h)

    k is what it keeps.
    """
    z, r, n = ops.split(_dense(3 * units, "input")(x), 3, axis=-1)
    z_h, r_h, n_h = ops.split(_dense(3 * units, "recurrent")(h), 3, axis=-1)
    keep = ops.sigmoid(z + z_h)
    return {"h": keep * h + (1.0 - keep) * ops.tanh(n + ops.sigmoid(r + r_h) * n_h)}


def _dense(units: int, name: str, *, bias: bool = True) -> layers.Dense:
    return layers.Dense(units, use_bias=bias, kernel_initializer=keras.initializers.Orthogonal(), name=name)
