"""Networks of the user's own: what they must put out, and what they put out beside."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from corral.agents.agent import Tensor
from corral.agents.networks import feed, keras_input
from corral.protocol.specs import Spec, TensorSpec

_TAKEN = {"action", "raw", "log_prob"}


def extra_outputs(
    network: keras.Model, observation: Spec, needed: Mapping[str, int | None], what: str = "the network"
) -> dict[str, TensorSpec]:
    """What a network puts out beside what is needed.

    Args:
      observation: the leaves that it takes.
      needed: output -> width; None for one number a row, `[batch]` or `[batch, 1]`.
      what: what to call the network.

    Raises:
      ValueError: it puts out something else; the text has both sides.
    """
    inputs = {name: keras_input(name, leaf) for name, leaf in observation.items()}
    *others, last = [f'"{name}" [batch{f", {width}" if width else ""}]' for name, width in needed.items()]
    expected = f"a dictionary with {', '.join(others)} and {last}" if others else f"a dictionary with {last}"
    out = network(feed(network, inputs))
    if not isinstance(out, Mapping):
        shapes = keras.tree.map_structure(lambda tensor: list(tensor.shape), out)
        raise ValueError(f"{what} must put out {expected}; it puts out {type(out).__name__} {shapes}")
    got = ", ".join(f'"{name}" {_shape(tensor)}' for name, tensor in out.items())
    if not all(name in out and _fits(out[name], width) for name, width in needed.items()):
        raise ValueError(f"{what} must put out {expected}; it puts out {got}")
    if clash := _TAKEN & set(out) - set(needed):
        raise ValueError(f"{what} may not put out {sorted(clash)}: the agent does; it puts out {got}")
    return {name: _leaf_spec(name, tensor) for name, tensor in out.items() if name not in needed}


def _fits(tensor: Tensor, width: int | None) -> bool:
    return tuple(tensor.shape[1:]) in (((), (1,)) if width is None else ((width,),))


def _leaf_spec(name: str, tensor: Tensor) -> TensorSpec:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(f'output "{name}" must have fixed sizes behind the batch, not {_shape(tensor)}')
    return TensorSpec(shape, tensor.dtype)


def _shape(tensor: Tensor) -> str:
    return "[" + ", ".join("batch" if size is None else str(size) for size in tensor.shape) + "]"
