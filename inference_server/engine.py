"""The engine: compiled, warmed, padded batches, and two replicas between which weights flip. Knows no actors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from corral.agents import Agent, load_backend
from corral.protocol import Spec
from corral.telemetry import Histogram
from corral.telemetry.catalogue import SECONDS
from corral.telemetry.tracer import span

Leaves = dict[str, np.ndarray]


class Engine:
    """An agent's `act`, compiled for every bucket, on the replica whose weights are in use.

    Two threads meet here: the server's calls `act` and `flip`, the weight intake's calls `offer`. The replica
    that acts is never written to; `offer` loads the other one and `flip` swaps them between two batches.

    Args:
      agent: whose `act` is compiled.
      buckets: batch sizes to compile, ascending.
      learns: whether weights are pushed. Without a learner one replica is enough, and it is ready as built.
      clock: seconds, monotonic.

    Attributes:
      ready: whether it can act: it has weights.
      epoch, version: of the weights that act.
      taken_up: clock reading of their flip.
      swap_s: seconds from loaded weights to their flip.
      recompiles: compilations since it was warm.
    """

    def __init__(
        self,
        agent: Agent,
        buckets: Sequence[int],
        *,
        learns: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        compiled = load_backend().CompiledAct
        self.agent = agent
        self.buckets = tuple(buckets)
        self._replicas = [compiled(agent, self.buckets)]
        if learns:
            self._replicas.append(compiled(agent, self.buckets, clone=True))
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

    @property
    def weight_spec(self) -> Spec:
        """The tensors of a policy version, by name."""
        return self._replicas[0].weight_spec

    @property
    def traces(self) -> int:
        """How often anything was compiled; flat once warm."""
        return sum(replica.traces for replica in self._replicas)

    @property
    def recompiles(self) -> int:
        return self.traces - self._traces_when_warm

    def warm(self, progress: Callable[[int, int], Any] = lambda done, total: None) -> None:
        """Compile and run every bucket of every replica once; `progress(done, total)` after each."""
        total = len(self._replicas) * len(self.buckets)
        done = 0
        for replica in self._replicas:
            for bucket in self.buckets:
                replica.warm_bucket(bucket)
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

    @span("compute", lambda result, engine, rows, *_: {"rows": rows, "padded": engine.padded(rows)})
    def act(
        self,
        rows: int,
        observation: Leaves,
        state: Leaves,
        first: np.ndarray,
        noise: np.ndarray,
        explore: np.ndarray,
    ) -> tuple[Leaves, Leaves]:
        """What the agent does for the first `rows` rows of the arrays.

        Every array is as long as the largest bucket; what lies behind `rows` is padding, whatever it holds.

        Returns:
          outputs and next recurrent state, leaf -> `[rows, ...]`.
        """
        bucket = self.padded(rows)
        outputs, next_state = self._replicas[self._active](
            bucket,
            {name: leaf[:bucket] for name, leaf in observation.items()},
            {name: leaf[:bucket] for name, leaf in state.items()},
            first[:bucket],
            noise[:bucket],
            explore[:bucket],
        )
        return (
            {name: leaf[:rows] for name, leaf in outputs.items()},
            {name: leaf[:rows] for name, leaf in next_state.items()},
        )

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool:
        """Load verified weights into the standby replica and wait until the acting thread has flipped to them.

        Args:
          epoch, version: what they are from now on.
          weights: a tensor for every name of `weight_spec`.
          wake: makes the acting thread call `flip` soon.
          timeout_s: how long it may take.

        Returns:
          whether the flip happened within `timeout_s` and before `close`; if not, the weights are withdrawn.
        """
        with self._lock:
            if self._closed:
                return False
            self._flipped.clear()
        self._load(weights)
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
    def _load(self, weights: Mapping[str, np.ndarray]) -> None:
        self._replicas[1 - self._active].load(weights)

    def close(self) -> None:
        """Nobody will flip any more: let go whoever waits in `offer`."""
        with self._lock:
            self._closed = True
            self._flipped.set()

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
