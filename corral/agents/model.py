"""Any saved Keras model as an agent that only predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from corral.agents.agent import AgentBase, AgentSpec, Batch, Call, Group, Losses, Tensor, Tensors
from corral.agents.networks import feed
from corral.protocol.specs import TensorSpec

_NET = "model"


class OpenSizeError(ValueError):
    """A model takes rows of any size, and nobody said of which: the text has its input and the shape."""


class ModelAgent(AgentBase):
    """A model served as it is: rows in, outputs out; it learns nothing and keeps no state.

    The observation's leaves are the model's inputs: "observation" where there is one, else their names.
    Outputs are named as the model's dictionary names them; a single tensor is "output", and those of a
    list are called after the layers that made them, or "output_0", "output_1", ... where such names repeat.

    Args:
      length: of whatever the model leaves open behind the batch: tokens of a sequence, or pixels of an image's
        sides. 0: nothing is open.

    Raises:
      OpenSizeError: a size behind the batch is open, and no length is given for it.
      ValueError: the model's inputs are not known yet, or its outputs depend on more than that.
    """

    def __init__(self, model: keras.Model, length: int = 0) -> None:
        if not getattr(model, "inputs", None):
            raise ValueError(f"model {model.name!r} has no known inputs: call it once, or build it, before saving")
        names = ["observation"] if len(model.inputs) == 1 else [tensor.name for tensor in model.inputs]
        observation = {name: _row(name, tensor, length) for name, tensor in zip(names, model.inputs, strict=True)}
        self.nets: Mapping[str, keras.Model] = {_NET: model}
        self.published = (_NET,)
        self.groups: Mapping[str, Group] = {}
        rows = {
            name: keras.KerasTensor((None, *leaf.shape), leaf.dtype, name=name)
            for name, leaf in observation.items()
        }
        outputs = _named(model, model(feed(model, rows)))
        self.spec = AgentSpec(
            observation=observation,
            action=None,
            outputs={name: _row(name, tensor, 0) for name, tensor in outputs.items()},
        )

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """The model's outputs, by name."""
        model = self.nets[_NET]
        return _named(model, call(_NET, feed(model, observation))), state

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Raises NotImplementedError: a served model does not learn."""
        raise NotImplementedError("a served model does not learn")

    def policy(self) -> keras.Model:
        """The model itself."""
        return self.nets[_NET]


def _named(model: keras.Model, outputs: Any) -> Tensors:
    """A model's outputs as a flat dictionary; the names of nested ones are joined by "/"."""
    if isinstance(outputs, Mapping):
        return {
            name if rest == "" else f"{name}/{rest}": tensor
            for name, value in outputs.items()
            for rest, tensor in (_named(model, value) if isinstance(value, Mapping) else {"": value}).items()
        }
    if isinstance(outputs, Sequence):
        names = list(getattr(model, "output_names", ()))
        if len(set(names)) != len(outputs):
            names = [f"output_{index}" for index in range(len(outputs))]
        return dict(zip(names, outputs, strict=True))
    return {"output": outputs}


def _row(name: str, tensor: Tensor, length: int) -> TensorSpec:
    """One row of a symbolic tensor; what is open has `length`, where that is no 0."""
    batch, *sizes = tensor.shape
    if batch is not None:
        raise ValueError(f"{name!r} has a fixed batch of {batch}: a served model takes batches of any size")
    if None in sizes and not length:
        shape = ["batch", *("unknown" if size is None else size for size in sizes)]
        raise OpenSizeError(f"{name!r} has shape {shape}: a served model has fixed sizes behind the batch")
    return TensorSpec(
        tuple(length if size is None else size for size in sizes), keras.backend.standardize_dtype(tensor.dtype)
    )
