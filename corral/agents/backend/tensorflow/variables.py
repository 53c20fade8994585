"""TensorFlow's variables, read and written by name in few transfers."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from corral.agents.backend.tensorflow.function import Function
from corral.agents.backend.variables import check_fit
from corral.agents.weights import named_variables
from corral.protocol.specs import Spec, TensorSpec


class Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
      spec: the dtypes that they are read and written as, if not their own.
    """

    def __init__(self, variables: Mapping[str, tf.Variable], spec: Spec | None = None) -> None:
        self._variables = dict(variables)
        self.spec: Spec = spec or {
            name: TensorSpec(tuple(variable.shape), variable.dtype.name) for name, variable in variables.items()
        }
        self._by_dtype: dict[str, list[str]] = {}
        for name, leaf in self.spec.items():
            self._by_dtype.setdefault(leaf.dtype, []).append(name)
        self._read: Function | None = None
        self._write: Function | None = None

    def read(self) -> dict[str, np.ndarray]:
        """Read-only views of one copy of all values: one transfer for each dtype."""
        if self._read is None:
            self._read = Function(self._pack, [])
        values: dict[str, np.ndarray] = {}
        for names, packed in zip(self._by_dtype.values(), self._read([]), strict=True):
            packed.flags.writeable = False
            leaves = [self.spec[name] for name in names]
            parts = np.split(packed, np.cumsum([leaf.size for leaf in leaves])[:-1])
            values.update(
                (name, part.reshape(leaf.shape)) for name, leaf, part in zip(names, leaves, parts, strict=True)
            )
        return {name: values[name] for name in self.spec}

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Assigns all values, or, where one does not fit, none."""
        check_fit(self.spec, values, [variable.dtype.name for variable in self._variables.values()])
        # Copies, since a variable may keep the very memory that it is assigned.
        arrays = [np.array(values[name]) for name in self.spec]
        if self._write is None:
            self._write = Function(self._assign, arrays)
        else:
            self._write(arrays)

    def _pack(self) -> list[tf.Tensor]:
        return [
            tf.concat([tf.cast(tf.reshape(self._variables[name], [-1]), dtype) for name in names], axis=0)
            for dtype, names in self._by_dtype.items()
        ]

    def _assign(self, *values: tf.Tensor) -> list[tf.Tensor]:
        for variable, value in zip(self._variables.values(), values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        return []


def tf_variables(nets: Mapping[str, keras.Model]) -> dict[str, tf.Variable]:
    """The variables of `nets`, by the names of `named_variables`."""
    return {name: variable.value for name, variable in named_variables(nets).items()}
