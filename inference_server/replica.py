"""A replica of the policy: compiled functions on one device, and two sets of weights to run them on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from corral.telemetry.tracer import span

Leaves = dict[str, np.ndarray]


class Inputs(NamedTuple):
    """What `Agent.act` takes: arrays as long as the largest bucket. What lies behind a batch's rows is padding."""

    observation: Leaves
    state: Leaves
    first: np.ndarray
    noise: np.ndarray
    explore: np.ndarray


@dataclass(eq=False)
class Task:
    """One batch for a replica.

    Attributes:
      rows, inputs: what to compute.
      finish: called with the task by `Engine.collect`, where it was not done as soon as it was begun.
      version: of the policy that acts.
      outputs, state: leaf -> `[rows, ...]`, once it is done.
      error: why there are none.
    """

    rows: int
    inputs: Inputs
    finish: Callable[[Task], None]
    version: int = 0
    outputs: Leaves = field(default_factory=dict)
    state: Leaves = field(default_factory=dict)
    error: Exception | None = None


class Replica:
    """One or two sets of weights, each with compiled functions of its own, on one device.

    Args:
      number: which replica it is.
      sets: a `CompiledAct` for each set of weights; of two, one acts while the other is loaded.

    Attributes:
      busy_s: seconds that it has computed.
    """

    def __init__(self, number: int, sets: Sequence[Any]) -> None:
        self.number = number
        self.sets = tuple(sets)
        self.busy_s = 0.0
        self._in_use: int | None = None
        self._changed = threading.Condition()

    def take(self, number: int) -> None:
        """Have a set of weights in use until `run` has ended: nobody loads it."""
        with self._changed:
            self._in_use = number

    @span(
        "compute", lambda _, replica, task, bucket: {"rows": task.rows, "padded": bucket, "replica": replica.number}
    )
    def run(self, task: Task, bucket: int) -> None:
        """Compute a task, padded to `bucket` rows, on the set that was taken."""
        assert self._in_use is not None
        began = time.perf_counter()
        inputs, rows = task.inputs, task.rows
        try:
            outputs, state = self.sets[self._in_use](
                bucket,
                {name: leaf[:bucket] for name, leaf in inputs.observation.items()},
                {name: leaf[:bucket] for name, leaf in inputs.state.items()},
                inputs.first[:bucket],
                inputs.noise[:bucket],
                inputs.explore[:bucket],
            )
            task.outputs = {name: leaf[:rows] for name, leaf in outputs.items()}
            task.state = {name: leaf[:rows] for name, leaf in state.items()}
        except Exception as error:  # a model may fail in any way; what came of it is the task's
            task.error = error
        self.busy_s += time.perf_counter() - began
        with self._changed:
            self._in_use = None
            self._changed.notify()

    def load(self, number: int, weights: Mapping[str, np.ndarray], timeout_s: float) -> bool:
        """Load a set of weights as soon as no task uses it. Whether that was so within `timeout_s`.

        Raises:
          ValueError: the weights do not fit.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._in_use != number, timeout_s):
                return False
        # Nobody takes it before it is flipped to, and whoever loads is who has it flipped to.
        self.sets[number].load(weights)
        return True


class Worker(threading.Thread):
    """Runs the tasks of one replica, one at a time.

    Args:
      done: told of each task that is done, in this thread.
    """

    def __init__(self, replica: Replica, done: Callable[[Replica, Task], None]) -> None:
        super().__init__(name=f"replica {replica.number}", daemon=True)
        self._replica = replica
        self._done = done
        self._tasks: SimpleQueue[tuple[Task, int] | None] = SimpleQueue()

    def submit(self, task: Task, bucket: int) -> None:
        """Compute a task, padded to `bucket` rows, soon."""
        self._tasks.put((task, bucket))

    def stop(self) -> None:
        """End once all that was submitted is computed."""
        self._tasks.put(None)

    def run(self) -> None:
        """Compute until `stop`."""
        while (given := self._tasks.get()) is not None:
            task, bucket = given
            self._replica.run(task, bucket)
            self._done(self._replica, task)
