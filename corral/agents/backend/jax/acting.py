"""Acting on JAX: an executable for each bucket."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import keras
import numpy as np

from corral.agents.agent import Agent, Tensor
from corral.agents.backend.jax.functions import Updates, assign, compiled, in_place_of, split, values_of
from corral.agents.backend.jax.variables import Variables
from corral.agents.backend.nets import caller
from corral.agents.backend.precision import cast_nets
from corral.agents.backend.replica import Function, ReplicaBase
from corral.agents.settings import Precision
from corral.agents.weights import named_variables, published_nets


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in JAX: an executable for each bucket, to which weights are arguments.

    Args:
      agent: what to compile.
      buckets: batch sizes, ascending.
      clone: whether the replica gets variables of its own, copied from the agent's; else it uses those.
      device: one of `acting_devices`, where it has a clone's variables and computes; None: where Keras would.
      precision: what it computes in; in another than float32 it has variables of its own, too.

    Raises:
      PrecisionError: a net cannot act in this precision.
    """

    def __init__(
        self,
        agent: Agent,
        buckets: Sequence[int],
        *,
        clone: bool = False,
        device: jax.Device | None = None,
        precision: Precision = "float32",
    ) -> None:
        nets = published_nets(agent)
        self._device = device
        self._nets = nets if precision == "float32" else cast_nets(nets, precision)
        traced = named_variables(self._nets)
        own = {name: _copy(variable, device) for name, variable in traced.items()} if clone else traced
        self._traced, self._own = list(traced.values()), list(own.values())
        variables = Variables(own, Variables(named_variables(nets)).spec, device)
        super().__init__(agent, buckets, variables, precision)

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        # Measured: one argument for each array is as fast as packed weights or fewer arguments, within 3 us of
        # 46; copies to the device ahead of the call cost 300 us.
        with jax.default_device(self._device):
            executable, own = compiled(self._traced_act, [*values_of(self._own), *examples]), self._own
        leaves = [*self.agent.spec.outputs.values(), *self.agent.spec.state.values()]
        widened: list[tuple[int, np.dtype]] = []

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            results, updates = executable(*values_of(own), *arrays)
            # Read here and now: until then the executable may be looking at the caller's memory.
            outputs = [np.asarray(result) for result in results]
            for index, dtype in widened:
                outputs[index] = outputs[index].astype(dtype)
            if updates:
                assign(own, updates)
            return outputs

        # JAX has no numbers of 64 bits, unless it is told to.
        for index, (output, leaf) in enumerate(zip(run(examples), leaves, strict=True)):
            if output.dtype != leaf.dtype:
                widened.append((index, np.dtype(leaf.dtype)))
        return run

    def _traced_act(self, *arguments: Tensor) -> tuple[list[Tensor], Updates]:
        self.traces += 1
        values, inputs = split(arguments, len(self._traced))
        with in_place_of(self._traced, values) as updates:
            results = self._act(caller(self._nets), inputs)
        return results, updates


def _copy(variable: keras.Variable, device: jax.Device | None) -> keras.Variable:
    copy = keras.Variable(variable.value, dtype=variable.dtype, trainable=False, name=variable.name)
    if device is not None:
        copy._value = jax.device_put(copy._value, device)
    return copy
