"""Gymnasium spaces as tensor specs, and structured observations as flat leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from corral.protocol import TensorSpec

SINGLE = "observation"
"""The leaf name of an observation that is one array."""


def observation_spec(space: Any) -> dict[str, TensorSpec]:
    """The leaves of an observation space: Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them.

    Raises:
      ValueError: another kind of space, named.
    """
    return {_name(path): _leaf(leaf) for path, leaf in _leaves(space, ())}


def action_spec(space: Any) -> TensorSpec:
    """The spec of an action space: Discrete, MultiDiscrete, MultiBinary or Box. Raises `ValueError` for others."""
    return _leaf(space)


def flatten(space: Any, value: Any) -> dict[str, np.ndarray]:
    """The leaves of one observation, or of a batch, under the names of `observation_spec`."""
    if not hasattr(space, "spaces"):
        return {SINGLE: np.asarray(value, space.dtype)}
    return {_name(path): np.asarray(_at(value, path), leaf.dtype) for path, leaf in _leaves(space, ())}


def _leaves(space: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    inner = getattr(space, "spaces", None)
    if inner is None:
        yield path, space
        return
    items = inner.items() if hasattr(inner, "items") else enumerate(inner)
    for key, child in items:
        yield from _leaves(child, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path)) or SINGLE


def _leaf(space: Any) -> TensorSpec:
    kind = type(space).__name__
    if kind == "Discrete":
        lowest = int(space.start)
        return TensorSpec((), str(space.dtype), lowest, lowest + int(space.n) - 1)
    if kind == "MultiDiscrete":
        start = np.asarray(space.start).ravel()
        stop = start + np.asarray(space.nvec).ravel() - 1
        return TensorSpec(space.shape, str(space.dtype), tuple(start.tolist()), tuple(stop.tolist()))
    if kind == "MultiBinary":
        return TensorSpec(space.shape, str(space.dtype), 0, 1)
    if kind == "Box":
        return TensorSpec(space.shape, str(space.dtype), _bound(space.low), _bound(space.high))
    raise ValueError(
        f"the space {space} cannot be sent as arrays; Corral takes Box, Discrete, MultiDiscrete and MultiBinary, "
        "and observations that are Dict or Tuple of these: wrap the environment"
    )


def _bound(values: np.ndarray) -> float | tuple[float, ...] | None:
    """Bounds as the wire takes them: one number where they are all alike, None where there are none."""
    flat = np.asarray(values, np.float64).ravel()
    if not np.isfinite(flat).any():
        return None
    if (flat == flat[0]).all():
        return float(flat[0])
    return tuple(flat.tolist())
