"""Acting on PyTorch, without gradients. It serves; training on it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import keras
import numpy as np
import torch

from corral.agents.agent import Agent
from corral.agents.backend import TRAINING, BackendError, how_to_choose
from corral.agents.backend.devices import for_replicas
from corral.agents.backend.nets import caller, replica_nets
from corral.agents.backend.replica import Function, ReplicaBase
from corral.agents.backend.variables import check_fit
from corral.agents.settings import Count, OptimizerSettings, Precision
from corral.agents.weights import named_variables, published_nets
from corral.protocol.specs import Spec, TensorSpec


def acting_devices(count: Count) -> list[str]:
    """The device of each replica of a policy: accelerators, or the processor where there are none."""
    return for_replicas(count, [f"cuda:{number}" for number in range(torch.cuda.device_count())], ["cpu"])


def training_devices(count: Count) -> NoReturn:
    """Raises BackendError: nothing is trained on PyTorch."""
    raise BackendError(
        "Keras runs on 'torch', on which Corral serves but does not train: for the learner "
        f"{how_to_choose(TRAINING)}. Servers may stay on torch: weights are the same on every backend"
    )


def take_memory(limit_mb: int = 0) -> None:
    """Has at most `limit_mb` MB of each GPU's memory be taken, as it is needed; 0: as much as there is."""
    for number in range(torch.cuda.device_count() if limit_mb else 0):
        whole = torch.cuda.get_device_properties(number).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit_mb * 2**20 / whole, 1.0), number)


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads PyTorch uses within one operation, and for operations at once; 0: its choice.

    Raises:
      RuntimeError: PyTorch has already run something in several threads, and is set in its ways.
    """
    if intra_threads:
        torch.set_num_threads(intra_threads)
    if inter_threads:
        torch.set_num_interop_threads(inter_threads)


def repeat_bits() -> None:
    """Gives the same results each time: no operation of several results, on one thread."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in PyTorch. Nothing is compiled: buckets are tried once, and called eagerly.

    Args:
      agent: whose `act` is called.
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
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        nets = published_nets(agent)
        self._device = device
        with self._placed():
            self._nets = replica_nets(nets, clone, precision)
            self._where = keras.ops.zeros(()).device
        variables = _Variables(named_variables(self._nets), _Variables(named_variables(nets)).spec)
        super().__init__(agent, buckets, variables, precision)

    def _placed(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._device is None else keras.device(self._device)

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        self.traces += 1
        leaves = [*self.agent.spec.outputs.values(), *self.agent.spec.state.values()]
        dtypes = [getattr(torch, leaf.dtype) for leaf in leaves]
        call, lent = caller(self._nets), self._lent(examples)

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode(), self._placed():
                results = self._act(call, self._tensors(arrays))
                for index in lent:
                    results[index] = results[index].clone()
                return [result.to("cpu", dtype).numpy() for result, dtype in zip(results, dtypes, strict=True)]

        run(examples)
        return run

    def _tensors(self, arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
        return [torch.from_numpy(array).to(self._where) for array in arrays]

    def _lent(self, examples: Sequence[np.ndarray]) -> list[int]:
        """Which results are an input or a weight handed through: that memory is written to again, so they are
        copied."""
        with torch.inference_mode(), self._placed():
            inputs = self._tensors(examples)
            results = self._act(caller(self._nets), inputs)
        weights = [variable.value for net in self._nets.values() for variable in net.variables]
        others = {tensor.untyped_storage().data_ptr() for tensor in (*inputs, *weights)}
        return [i for i, result in enumerate(results) if result.untyped_storage().data_ptr() in others]


class Trainer:
    """What other backends train with.

    Raises:
      BackendError: always; nothing is trained on PyTorch.
    """

    def __init__(self, agent: Agent, settings: OptimizerSettings, devices: Count = 1) -> None:
        training_devices(devices)


class _Variables:
    """Named variables that are read and written together.

    Args:
      variables: name -> variable; the order is kept.
      spec: the dtypes that they are read and written as, if not their own.
    """

    def __init__(self, variables: Mapping[str, keras.Variable], spec: Spec | None = None) -> None:
        self._variables = dict(variables)
        self.spec: Spec = spec or {
            name: TensorSpec(tuple(variable.shape), variable.dtype) for name, variable in variables.items()
        }

    def read(self) -> dict[str, np.ndarray]:
        """Read-only copies of all values."""
        values = {}
        for name, variable in self._variables.items():
            dtype = getattr(torch, self.spec[name].dtype)
            values[name] = variable.value.detach().to("cpu", dtype, copy=True).numpy()
            values[name].flags.writeable = False
        return values

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Copies all values, or, where one does not fit, none."""
        check_fit(self.spec, values, [variable.dtype for variable in self._variables.values()])
        with torch.no_grad():
            for name, variable in self._variables.items():
                variable.value.copy_(torch.tensor(values[name]))
