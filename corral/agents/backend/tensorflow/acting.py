"""Acting on TensorFlow: a concrete function for each bucket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from corral.agents.agent import Agent
from corral.agents.backend.nets import caller, replica_nets
from corral.agents.backend.replica import ReplicaBase
from corral.agents.backend.tensorflow.function import Function
from corral.agents.backend.tensorflow.variables import Variables, tf_variables
from corral.agents.settings import Precision
from corral.agents.weights import published_nets


class CompiledAct(ReplicaBase):
    """A replica of an agent's policy in TensorFlow: a concrete function for each bucket.

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
        device: str | None = None,
        precision: Precision = "float32",
    ) -> None:
        nets = published_nets(agent)
        self._device = device
        with tf.device(device):
            self._nets = replica_nets(nets, clone, precision)
        variables = Variables(tf_variables(self._nets), Variables(tf_variables(nets)).spec)
        super().__init__(agent, buckets, variables, precision)

    def _compile(self, examples: Sequence[np.ndarray]) -> Function:
        function = Function(self._placed_act, examples)
        function.choose_executor(examples)
        return function

    def _placed_act(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        self.traces += 1
        with tf.device(self._device):
            return self._act(caller(self._nets), inputs)
