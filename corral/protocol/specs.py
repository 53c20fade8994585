"""Tensor specs: the shape, dtype and bounds of one leaf of an observation, an action or an output.

A structured observation (a dictionary or tuple of arrays) travels as flat leaves. A `Spec` names them:
a plain array is the one leaf of its `Spec`; nested names are joined by "/".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.limits import MAX_PARTS

DTYPES = frozenset({"bool", "float16", "float32", "float64"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""The dtypes that may cross the wire, by numpy name; all little-endian."""

MAX_RANK = 8
MAX_LEAF_BYTES = 1 << 30

Bound: TypeAlias = float | tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One row of one leaf: no batch dimension.

    `minimum` and `maximum` are one number for every element, one number for each element in row-major
    order, or None where unbounded. An integer leaf with both bounds is discrete: `num_values` counts its
    values. Raises `ProtocolError` (SPEC) for a dtype, rank or size that may not cross the wire.
    """

    shape: tuple[int, ...]
    dtype: str
    minimum: Bound = None
    maximum: Bound = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ProtocolError(ErrorCode.SPEC, f"dtype {self.dtype!r} is not one of {sorted(DTYPES)}")
        if len(self.shape) > MAX_RANK:
            raise ProtocolError(ErrorCode.SPEC, f"a shape has 0 to {MAX_RANK} sizes, not {len(self.shape)}")
        if any(not 0 <= size <= MAX_LEAF_BYTES for size in self.shape):
            raise ProtocolError(ErrorCode.SPEC, f"shape {self.shape} has a size that is not 0 to {MAX_LEAF_BYTES}")
        if self.nbytes > MAX_LEAF_BYTES:
            raise ProtocolError(ErrorCode.SPEC, f"{self} takes {self.nbytes} bytes, more than {MAX_LEAF_BYTES}")

    @property
    def size(self) -> int:
        """Elements in one row."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def num_values(self) -> int | None:
        """How many values a discrete leaf can take, else None."""
        if np.dtype(self.dtype).kind not in "iu" or self.size == 0:
            return None
        lows, highs = _numbers(self.minimum), _numbers(self.maximum)
        # Plain integers: numpy's would wrap around, or round, near the ends of 64 bits.
        if not (lows and highs and all(map(math.isfinite, lows + highs))):
            return None
        return int(max(highs)) - int(min(lows)) + 1

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the most of each element, arrays of `shape`; infinite where there is no bound."""
        low, high = (
            np.broadcast_to(np.asarray(none if bound is None else bound).ravel(), (self.size,)).reshape(self.shape)
            for bound, none in ((self.minimum, -np.inf), (self.maximum, np.inf))
        )
        return low, high

    def same_array(self, other: TensorSpec) -> bool:
        """Whether both describe arrays of one shape and dtype, whatever their bounds."""
        return self.shape == other.shape and self.dtype == other.dtype

    def zeros(self, *leading: int) -> np.ndarray:
        """An array of zeros of shape `leading + shape`."""
        return np.zeros((*leading, *self.shape), self.dtype)

    def __str__(self) -> str:
        text = f"{self.dtype}{list(self.shape)}"
        return text if self.num_values is None else f"{text} of {self.num_values} values"

    def to_wire(self) -> list[Any]:
        """The spec as msgpack takes it: `[shape, dtype, minimum, maximum]`."""
        return [list(self.shape), self.dtype, self.minimum, self.maximum]

    @classmethod
    def from_wire(cls, value: Any) -> TensorSpec:
        """The spec that `to_wire` gave. Raises `ProtocolError` (SPEC) for anything else."""
        match value:
            case [[*shape], str(dtype), minimum, maximum] if all(type(size) is int for size in shape):
                # The shape first: the bounds are counted by it, and a long one would take minutes to multiply.
                leaf = cls(tuple(shape), dtype)
                return replace(leaf, minimum=_bound(minimum, leaf), maximum=_bound(maximum, leaf))
        raise ProtocolError(ErrorCode.SPEC, "a tensor spec is [shape, dtype, minimum, maximum]")


Spec: TypeAlias = Mapping[str, TensorSpec]


def _numbers(bound: Bound) -> tuple[float, ...]:
    if bound is None:
        return ()
    return bound if isinstance(bound, tuple) else (bound,)


def _bound(value: Any, leaf: TensorSpec) -> Bound:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list) and all(isinstance(number, int | float) for number in value):
        if len(value) == leaf.size:
            return tuple(value)
        raise ProtocolError(ErrorCode.SPEC, f"{len(value)} bounds for shape {list(leaf.shape)}")
    raise ProtocolError(ErrorCode.SPEC, "a bound is a number, a list of numbers, or null")


def spec_to_wire(spec: Spec) -> dict[str, Any]:
    """A `Spec` as msgpack takes it; leaf order is kept."""
    return {name: leaf.to_wire() for name, leaf in spec.items()}


def spec_from_wire(value: Any) -> dict[str, TensorSpec]:
    """The `Spec` that `spec_to_wire` gave. Raises `ProtocolError` (SPEC) for anything else."""
    if not isinstance(value, dict):
        raise ProtocolError(ErrorCode.SPEC, "a spec is a map from leaf names to tensor specs")
    if len(value) > MAX_PARTS:
        raise ProtocolError(ErrorCode.SPEC, f"{len(value)} leaves; a message has at most {MAX_PARTS} frames")
    return {name: TensorSpec.from_wire(leaf) for name, leaf in value.items()}


def describe(spec: Spec) -> str:
    """One readable line: `{observation: float32[4]}`."""
    return "{" + ", ".join(f"{name}: {leaf}" for name, leaf in spec.items()) + "}"


def mismatch(ours: Spec, theirs: Spec, *, bounds: bool = False) -> str | None:
    """Why two specs do not describe the same leaves in the same order, or None where they do.

    Bounds count only where `bounds` is true: actions of another range are other actions, while
    observations of another range still fit the arrays.
    """
    if list(ours) != list(theirs):
        return f"the leaves are {list(ours)} here and {list(theirs)} there"
    for name, leaf in ours.items():
        if not leaf.same_array(theirs[name]):
            return f"{name!r} is {leaf} here and {theirs[name]} there"
        if bounds and (leaf.minimum, leaf.maximum) != (theirs[name].minimum, theirs[name].maximum):
            here, there = (leaf.minimum, leaf.maximum), (theirs[name].minimum, theirs[name].maximum)
            return f"{name!r} ranges over {here} here and {there} there"
    return None
