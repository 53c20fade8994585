"""JAX's variables, read and written by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import keras
import numpy as np

from corral.agents.backend.jax.functions import assign, values_of
from corral.agents.backend.variables import check_fit
from corral.protocol.specs import Spec, TensorSpec


class Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
      spec: the dtypes that they are read and written as, if not their own.
      place: the device, or the sharding, that written values go to.
    """

    def __init__(
        self, variables: Mapping[str, keras.Variable], spec: Spec | None = None, place: Any = None
    ) -> None:
        self._variables = dict(variables)
        self._place = place
        self._dtypes = [variable._value.dtype for variable in variables.values()]
        self.spec: Spec = spec or {
            name: TensorSpec(tuple(variable.shape), variable.value.dtype.name)
            for name, variable in variables.items()
        }

    def read(self) -> dict[str, np.ndarray]:
        """Read-only arrays: on the CPU the very memory of the values, which nobody ever overwrites."""
        arrays = jax.device_get(values_of(list(self._variables.values())))
        read = {
            name: array.astype(leaf.dtype, copy=False)
            for array, (name, leaf) in zip(arrays, self.spec.items(), strict=True)
        }
        for array in read.values():
            array.flags.writeable = False
        return read

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes all values, or, where one does not fit, none."""
        check_fit(self.spec, values, [dtype.name for dtype in self._dtypes])
        # Copies, since on the CPU JAX may keep the very memory that it is given.
        copies = [np.array(values[name], dtype) for name, dtype in zip(self.spec, self._dtypes, strict=True)]
        arrays = jax.device_put(copies, self._place)
        assign(list(self._variables.values()), dict(enumerate(arrays)))
