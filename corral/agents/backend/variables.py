"""Weights as the world sees them: named arrays that are read together, and written together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from corral.protocol.specs import Spec, TensorSpec, mismatch

_MOST_FLOAT16 = float(np.finfo(np.float16).max)


class Variables(Protocol):
    """Named variables that are read and written together."""

    @property
    def spec(self) -> Spec:
        """Name -> shape and dtype, in the order of `read`."""
        ...

    def read(self) -> dict[str, np.ndarray]:
        """A read-only snapshot of all values."""
        ...

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes copies of all values, or, where one does not fit, raises ValueError and takes none."""
        ...


def check_fit(spec: Spec, values: Mapping[str, np.ndarray], kept_as: Sequence[str] = ()) -> None:
    """Raises ValueError where names, shapes or dtypes of `values` are not those of `spec`, or where a value has no
    room in the dtype that it is `kept_as`, in the order of `spec`."""
    given = {name: TensorSpec(value.shape, value.dtype.name) for name, value in values.items()}
    if unknown := sorted(given.keys() ^ spec.keys()):
        raise ValueError(f"the weights differ in {', '.join(unknown)}: present on one side alone")
    if reason := mismatch(spec, {name: given[name] for name in spec}):
        raise ValueError(f"the weights do not fit: {reason}")
    for name, dtype in zip(spec, kept_as, strict=False):
        # Of bfloat16 the range is float32's own.
        if dtype == "float16" and np.abs(values[name]).max(initial=0) > _MOST_FLOAT16:
            raise ValueError(f"the weights do not fit: {name!r} has numbers too large for float16; use bfloat16")
