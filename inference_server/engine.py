"""The engine: compiled, warmed, padded batches on one or several replicas, and the weights that they flip between.
Knows no actors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from corral.agents import Agent, load_backend
from corral.agents.settings import Count, Precision
from corral.protocol import ErrorCode, ProtocolError, Spec
from corral.telemetry import Histogram
from corral.telemetry.catalogue import SECONDS
from corral.telemetry.tracer import span
from inference_server.replica import Inputs, Leaves, Replica, Task, Worker


class Engine:
    """An agent's `act`, compiled for every bucket, on replicas that act with the same policy version.

    Two threads meet here: the server's begins tasks, collects them and calls `flip`; the weight intake's calls
    `offer`. Each replica has two sets of weights. The set that acts is never written to; `offer` loads the others
    and `flip` has all that begins from then on act with them. A batch under way ends on what it began with, so an
    environment, of which one request is answered at a time, never sees a version go backwards.

    With one replica a task is computed where it is begun, which is faster than any hand-over. Several have a
    thread each.

    Args:
      agent: whose `act` is compiled.
      buckets: batch sizes to compile, ascending.
      learns: whether weights are pushed. Without a learner one set is enough, and it is ready as built.
      replicas: how many; "auto" has one on every accelerator.
      precision: what they compute in.
      wake: called, from any thread, when a task can be collected.
      clock: seconds, monotonic.

    Attributes:
      ready: whether it can act: it has weights.
      epoch, version: of the weights that act.
      taken_up: clock reading of their flip.
      swap_s: seconds from loaded weights to their flip.
      recompiles: compilations since it was warm.

    Raises:
      PrecisionError: the agent cannot act in this precision; or else `warm` says so.
    """

    def __init__(
        self,
        agent: Agent,
        buckets: Sequence[int],
        *,
        learns: bool,
        replicas: Count = 1,
        precision: Precision = "float32",
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent = agent
        self.buckets = tuple(buckets)
        self._wake = wake
        self._done: SimpleQueue[tuple[Replica, Task]] = SimpleQueue()
        self.replicas = _replicas(agent, self.buckets, 2 if learns else 1, replicas, precision)
        self._free = list(reversed(self.replicas))
        workers = [Worker(replica, self._notice) for replica in self.replicas] if len(self.replicas) > 1 else []
        self._workers = dict(enumerate(workers))
        self._active = 0
        self._lock = threading.Lock()
        self._flipped = threading.Event()
        self._offered: tuple[int, int] | None = None
        self._offered_at = 0.0
        self._closed = False
        self._clock = clock
        self._traces_when_warm = 0
        self.swap_s = Histogram(SECONDS)
        self.taken_up = clock()
        self.epoch = 0
        self.version = 0
        self.ready = not learns
        self.use_buckets(self.buckets)
        for worker in workers:
            worker.start()

    @property
    def weight_spec(self) -> Spec:
        """The tensors of a policy version, by name."""
        spec: Spec = self.replicas[0].sets[0].weight_spec
        return spec

    @property
    def traces(self) -> int:
        """How often anything was compiled; flat once warm."""
        return sum(each.traces for replica in self.replicas for each in replica.sets)

    @property
    def recompiles(self) -> int:
        return self.traces - self._traces_when_warm

    def warm(self, progress: Callable[[int, int], Any] = lambda done, total: None) -> None:
        """Compile and run every bucket of every set of weights once; `progress(done, total)` after each."""
        sets = [each for replica in self.replicas for each in replica.sets]
        total = len(sets) * len(self.buckets)
        done = 0
        for each in sets:
            for bucket in self.buckets:
                each.warm_bucket(bucket)
                done += 1
                progress(done, total)
        self._traces_when_warm = self.traces

    def use_buckets(self, buckets: Sequence[int]) -> None:
        """Pad to these of the compiled buckets from now on; to the others only what is larger than all of them."""
        # Looked up rather than searched on the hot path.
        sizes = [*buckets, *(size for size in self.buckets if size > buckets[-1])]
        self._padded: list[int] = np.array(sizes)[np.searchsorted(sizes, np.arange(sizes[-1] + 1))].tolist()

    def padded(self, rows: int) -> int:
        """The bucket that `rows` rows are padded to."""
        return self._padded[rows]

    @property
    def is_free(self) -> bool:
        """Whether a task can be begun."""
        return bool(self._free)

    @property
    def under_way(self) -> int:
        """Tasks that were begun and not collected yet."""
        return len(self.replicas) - len(self._free)

    def begin(self, task: Task) -> bool:
        """Have a task computed by a replica that is free, with the policy version of now. Whether that is done: by
        the only replica it is, here and now; one of several does it beside, and `collect` finishes it."""
        if not self._workers:
            self.run(task)
            return True
        replica = self._take(task)
        self._workers[replica.number].submit(task, self._padded[task.rows])
        return False

    def collect(self, timeout_s: float = 0.0) -> None:
        """Finish the tasks that were begun and are done; with a timeout, wait so long until one is."""
        done = self._done
        if timeout_s and done.empty() and self.under_way:
            try:
                self._put_back(*done.get(timeout=timeout_s))
            except Empty:
                return
        while not done.empty():
            self._put_back(*done.get())

    def run(self, task: Task) -> None:
        """Compute a task here and now; a replica has to be free. Nobody finishes it."""
        replica = self._take(task)
        replica.run(task, self._padded[task.rows])
        self._free.append(replica)

    def act(
        self,
        rows: int,
        observation: Leaves,
        state: Leaves,
        first: np.ndarray,
        noise: np.ndarray,
        explore: np.ndarray,
    ) -> tuple[Leaves, Leaves]:
        """What the agent does for the first `rows` rows of the arrays, here and now.

        Every array is as long as the largest bucket; what lies behind `rows` is padding, whatever it holds.

        Returns:
          outputs and next recurrent state, leaf -> `[rows, ...]`.
        """
        task = Task(rows, Inputs(observation, state, first, noise, explore), lambda task: None)
        self.run(task)
        if task.error is not None:
            raise task.error
        return task.outputs, task.state

    def _take(self, task: Task) -> Replica:
        replica = self._free.pop()
        replica.take(self._active)
        task.version = self.version
        return replica

    def _put_back(self, replica: Replica, task: Task) -> None:
        self._free.append(replica)
        task.finish(task)

    def _notice(self, replica: Replica, task: Task) -> None:
        self._done.put((replica, task))
        self._wake()

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool:
        """Load verified weights into the sets that stand by, and wait until the acting thread has flipped to them.

        Args:
          epoch, version: what they are from then on.
          weights: a tensor for every name of `weight_spec`.
          wake: makes the acting thread call `flip` soon.
          timeout_s: how long it may take.

        Returns:
          whether the flip happened within `timeout_s` and before `close`; if not, the weights are withdrawn.

        Raises:
          ProtocolError: WEIGHTS: they have no room in the precision of the replicas.
        """
        with self._lock:
            if self._closed:
                return False
            self._flipped.clear()
        if not self._load(weights, timeout_s):
            return False
        with self._lock:
            self._offered, self._offered_at = (epoch, version), self._clock()
            if self._closed:
                self._flipped.set()
        wake()
        self._flipped.wait(timeout_s)
        with self._lock:
            taken, self._offered = self._offered is None, None
        return taken

    @span("load weights")
    def _load(self, weights: Mapping[str, np.ndarray], timeout_s: float) -> bool:
        try:
            return all(replica.load(1 - self._active, weights, timeout_s) for replica in self.replicas)
        except ValueError as error:
            raise ProtocolError(ErrorCode.WEIGHTS, str(error)) from error

    def close(self) -> None:
        """Nobody will flip or begin anything any more: let go whoever waits in `offer`, and end the threads."""
        with self._lock:
            self._closed = True
            self._flipped.set()
        for worker in self._workers.values():
            worker.stop()

    def flip(self) -> bool:
        """Take up offered weights, if any; called between two batches. Whether there were any."""
        return self._offered is not None and self._swap()

    @span("weight swap", lambda swapped, engine: {"version": engine.version})
    def _swap(self) -> bool:
        with self._lock:
            if self._offered is None:
                return False
            self.epoch, self.version = self._offered
            self._offered = None
            self._active = 1 - self._active
            self.ready = True
            self.taken_up = self._clock()
            self.swap_s.observe(self.taken_up - self._offered_at)
        self._flipped.set()
        return True


def _replicas(agent: Agent, buckets: Sequence[int], sets: int, count: Count, precision: Precision) -> list[Replica]:
    """The replicas, each with so many sets of weights, on the devices that there are."""
    backend = load_backend()
    devices = backend.acting_devices(count)

    def compiled(replica: int, number: int) -> Any:
        if replica == 0:  # on the device where the agent's own variables are, which serve for one set
            return backend.CompiledAct(agent, buckets, clone=number > 0, precision=precision)
        return backend.CompiledAct(agent, buckets, clone=True, device=devices[replica], precision=precision)

    return [
        Replica(replica, [compiled(replica, number) for number in range(sets)]) for replica in range(len(devices))
    ]
