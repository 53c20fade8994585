"""Networks that look their outputs up, so that losses can be worked out by hand: an observation is a row number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents.agent import Agent, Batch, Call, Losses
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import Unroll


def table(**outputs: Any) -> keras.Model:
    """A network from "row" to outputs, each a list with one entry, or list, for each row."""
    arrays = {name: np.array(values, np.float32) for name, values in outputs.items()}
    rows = len(next(iter(arrays.values())))
    row = keras.Input((), dtype="int32", name="row")
    hot = ops.one_hot(row, rows)
    heads = {}
    for name, values in arrays.items():
        layer = keras.layers.Dense(values.reshape(rows, -1).shape[1], use_bias=False, name=f"{name}_table")
        heads[name] = layer(hot)
        layer.set_weights([values.reshape(rows, -1)])
    return keras.Model({"row": row}, heads)


def masked_table(**outputs: Any) -> keras.Model:
    """A `table` that also takes an action mask, which it does not look at."""
    row, width = keras.Input((), dtype="int32", name="row"), len(next(iter(outputs.values()))[0])
    mask = keras.Input((width,), dtype="int8", name="action_mask")
    return keras.Model({"row": row, "action_mask": mask}, table(**outputs)({"row": row}))


def masked_spec(rows: int, actions: int) -> dict[str, TensorSpec]:
    """The observation of a `masked_table`."""
    return {**rows_spec(rows), "action_mask": TensorSpec((actions,), "int8", 0, 1)}


def rows_spec(rows: int) -> dict[str, TensorSpec]:
    """The observation of a network with so many rows."""
    return {"row": TensorSpec((), "int32", 0, rows - 1)}


def caller(nets: Mapping[str, keras.Model]) -> Call:
    """Applies nets as they are."""
    return lambda name, *inputs, training=False: nets[name](*inputs)


def column(numbers: Any, dtype: str) -> np.ndarray:
    """One trajectory: `[T + 1, 1, ...]`."""
    return np.array(numbers, dtype)[:, None]


def unroll_of(
    rows: Any, rewards: Any, discounts: Any, types: Any, state: Mapping[str, Any] | None = None, **output: Any
) -> Unroll:
    """One trajectory over row numbers; each of `output` is `(numbers, dtype)`."""
    return Unroll(
        {"row": column(rows, "i4")},
        {name: column(numbers, dtype) for name, (numbers, dtype) in output.items()},
        column(rewards, "f4"),
        column(discounts, "f4"),
        column(types, "u1"),
        np.zeros((len(rows), 1), "i8"),
        state or {},
    )


def losses_of(
    agent: Agent, unroll: Unroll, *, target: Mapping[str, keras.Model] | None = None, prepared: Any = None,
    weights: Any = None, noise: float = 0.5,
) -> Losses:  # fmt: skip
    """The losses of one batch, the slow copies being `target`, or the nets themselves."""
    indices, size = unroll.reward.shape
    batch = Batch(
        keras.tree.map_structure(ops.convert_to_tensor, unroll),
        prepared or {},
        np.ones(size, np.float32) if weights is None else np.array(weights, np.float32),
        np.full((indices, size, agent.spec.train_noise), noise, np.float32),
        ops.zeros((), "int32"),
    )
    return agent.losses(caller(agent.nets), caller(target or agent.nets), batch)
