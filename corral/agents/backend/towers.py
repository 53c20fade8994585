"""Nets that several devices apply at once, each to a part of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from corral.agents.agent import Tensor
from corral.agents.backend.nets import caller


class Towers:
    """A `Call` whose rows are shared out: each device has a copy of the weights, and applies nets to its part.

    Only what nets do is shared out. All that an agent makes of it (losses, means over a batch) is computed once, of
    all rows: so a step is what it is on one device, whatever the agent does. A net that takes in what it sees
    (`training`) sees all rows in one place, for the same reason.

    Copies are made once, when a net is first called, and gradients flow through them to the variables. One instance
    is good for one traced function.

    Args:
      nets: by name; their variables are on the first device.
      devices: two or more.
      on: has what is made within its block be made on a device.
      copy: a copy of a tensor, on the device of the block.
    """

    def __init__(
        self,
        nets: Mapping[str, keras.Model],
        devices: Sequence[Any],
        on: Callable[[Any], AbstractContextManager[object]],
        copy: Callable[[Tensor], Tensor],
    ) -> None:
        self._nets = nets
        self._apply = caller(nets)
        self._devices = devices
        self._on = on
        self._copy = copy
        self._copies: dict[tuple[str, int], list[tuple[keras.Variable, Tensor]]] = {}

    def __call__(self, name: str, *inputs: Any, training: bool = False) -> Any:
        leading = {tensor.shape[0] if tensor.shape else None for tensor in keras.tree.flatten(inputs)}
        rows = leading.pop() if len(leading) == 1 else None
        if training or rows is None or rows % len(self._devices):
            return self._apply(name, *inputs, training=training)
        each = rows // len(self._devices)
        parts = []
        for number, device in enumerate(self._devices):
            with self._on(device):
                own = slice(number * each, (number + 1) * each)
                part = keras.tree.map_structure(lambda tensor, own=own: tensor[own], inputs)
                parts.append(self._apply_to_part(name, part, number))
        return keras.tree.map_structure(lambda *tensors: ops.concatenate(tensors, axis=0), *parts)

    def _apply_to_part(self, name: str, inputs: Any, number: int) -> Any:
        if number == 0:
            return self._apply(name, *inputs)
        copies = self._copies.get((name, number))
        if copies is None:
            copies = [(variable, self._copy(variable.value)) for variable in self._nets[name].variables]
            self._copies[name, number] = copies
        # What a layer keeps of a call, it keeps of the first device's.
        with keras.StatelessScope(copies):
            return self._apply(name, *inputs)
