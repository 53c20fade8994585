"""Compiled functions from numpy arrays to numpy arrays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, execute
from tensorflow.python.framework.ops import EagerTensor

_ALIGNMENT = 64
_WORTH = 0.8
"""What share of the time in the calling thread other threads must need, to be used."""
_LONG_S = 0.1
"""Calls that take longer are tried once."""
_TRIALS = 7
"""Calls of each executor, of which the fastest counts."""


class Function:
    """A concrete function from numpy arrays to numpy arrays, called without TensorFlow's Python layers.

    Calling a `ConcreteFunction` itself costs about 100 us in Python, and `tf.constant` copies each array. Here
    the arrays' memory is lent to the call, and the function is run as an operation of the eager context.

    Args:
      function: from tensors to a list of tensors.
      examples: arrays of the shapes and dtypes to compile for; the function is run once on them.

    Attributes:
      chooses: whether `choose_executor` tries what is faster; else it takes this thread.
    """

    chooses = True

    def __init__(self, function: Callable[..., list[tf.Tensor]], examples: Sequence[np.ndarray]) -> None:
        signature = [tf.TensorSpec(array.shape, array.dtype) for array in examples]
        compiled = tf.function(function, autograph=False)
        # Kept whole: the function lives only as long as its Python object.
        self._concrete = concrete = compiled.get_concrete_function(*signature)
        self._operation = concrete._inference_function.name.decode()
        self._num_outputs = len(concrete.outputs)
        self._context = context.context()
        self._context.ensure_initialized()
        self._device = self._context.device_name
        self._attributes: tuple[Any, ...] = ()
        used = [bool(placeholder.consumers()) for placeholder in concrete.inputs[: len(examples)]]
        self._used = [index for index, is_used in enumerate(used) if is_used]
        # What the function ignores is never looked at again: its example stands in for it.
        stand_ins = [None if is_used else tf.constant(array) for array, is_used in zip(examples, used, strict=True)]
        self._tensors = [*stand_ins, *concrete.captured_inputs]
        self._lent: list[int] = []
        self._lent = self._outputs_in_input_memory(examples)

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors, device = self._tensors.copy(), self._device
        for index in self._used:
            tensors[index] = EagerTensor(arrays[index], device, None)
        results = execute.execute(self._operation, self._num_outputs, tensors, self._attributes, self._context)
        outputs = [result._numpy() for result in results]
        for index in self._lent:
            outputs[index] = outputs[index].copy()
        return outputs

    def choose_executor(self, arrays: Sequence[np.ndarray]) -> None:
        """Choose where the function runs: in TensorFlow's threads while this one waits, or in this one.

        For a small net the way to another thread and back costs more than the net itself, the more so on busy cores
        (benchmarks/DATA_PLANE.md); one with branches that run side by side can win far more than `_WORTH`.
        """
        elsewhere: tuple[str, tuple[Any, ...]] = (self._operation, ())
        # A function that is called by its name is always handed over; as an operation's attribute it is not.
        here = ("StatefulPartitionedCall", self._call_attributes())
        if not self.chooses:
            self._operation, self._attributes = here
            return
        taken = {elsewhere: math.inf, here: math.inf}
        for _ in range(_TRIALS):
            if taken[elsewhere] > _LONG_S and taken[here] < math.inf:
                break  # what takes so long gains nothing by a few microseconds, and would take for ever to start
            for way in taken:
                self._operation, self._attributes = way
                begun = time.perf_counter()
                self(arrays)
                taken[way] = min(taken[way], time.perf_counter() - begun)
        self._operation, self._attributes = elsewhere if taken[elsewhere] < _WORTH * taken[here] else here

    def _call_attributes(self) -> tuple[Any, ...]:
        """What the operation that calls this function is told of it."""
        inputs = tuple(tensor.dtype.as_datatype_enum for tensor in self._concrete.inputs)
        outputs = tuple(tensor.dtype.as_datatype_enum for tensor in self._concrete.outputs)
        attributes = {
            "Tin": inputs,
            "Tout": outputs,
            "f": self._concrete._inference_function,
            "config": "",
            "config_proto": self._context.function_call_options.config_proto_serialized,
            "executor_type": "",
        }
        return tuple(chain.from_iterable(attributes.items()))

    def _outputs_in_input_memory(self, examples: Sequence[np.ndarray]) -> list[int]:
        """Which outputs are an input handed through: the caller may overwrite that memory, so they are copied."""
        arrays = [_aligned(array) for array in examples]
        outputs = self(arrays)
        return [i for i, out in enumerate(outputs) if any(np.may_share_memory(out, array) for array in arrays)]


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes, as memory must for TensorFlow to take it uncopied."""
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
