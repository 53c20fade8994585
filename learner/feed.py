"""What a learner trains on next: fresh unrolls, each once, or what a replay draws."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from corral.agents import AgentSpec
from corral.protocol import StepType
from corral.protocol.unrolls import Leaves, cut_columns, side_by_side, to_unroll, unroll_spec, unrolls_in
from corral.telemetry.tracer import span
from learner.replay import Replay, Sample
from learner.settings import LearnerSettings
from learner.unroll_source import UnrollSource

log = logging.getLogger(__name__)

WAIT_S = 0.2
"""Longest wait for unrolls, so that a learner that should stop does."""


_WAITING = "waiting/"


class Feed(Protocol):
    """Where batches come from."""

    def next(self) -> Sample | None:
        """The next batch, or None where there is none yet: ask again."""
        ...

    def learned(self, sample: Sample, priorities: np.ndarray | None) -> None:
        """A batch has been trained on; `priorities` as the agent gave them."""
        ...

    def figures(self) -> dict[str, Any]:
        """How much there is, for people."""
        ...

    def state(self, waiting: list[Leaves]) -> Mapping[str, np.ndarray]:
        """What a checkpoint keeps of it, and of the unrolls that wait for it."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` returned; raises `ValueError` where that is another's."""
        ...


class FreshFeed:
    """Every unroll once, in the order of acceptance; those of too old a policy not at all.

    Args:
      source: where unrolls come in.
      size: unrolls in a batch.
      max_lag: versions that the oldest step of an unroll may be behind; 0: any number.
      version: the policy version now.

    Attributes:
      too_old: unrolls that were dropped for their age.
    """

    def __init__(
        self, source: UnrollSource, size: int, max_lag: int = 0, version: Callable[[], int] = lambda: 0
    ) -> None:
        self._source = source
        self._size = size
        self._max_lag = max_lag
        self._version = version
        self._held: list[Leaves] = []
        self._sample = (np.ones(size, np.float32), np.arange(size))
        self.too_old = 0

    @span("wait for unrolls")
    def next(self) -> Sample | None:
        if not self._max_lag:
            unroll = self._source.next(self._size, WAIT_S)
            return None if unroll is None else Sample(unroll, *self._sample)
        missing = self._size - sum(map(unrolls_in, self._held))
        leaves = self._source.take(missing, WAIT_S)
        if leaves is not None:
            self._held += self._young(leaves)
        if leaves is None or sum(map(unrolls_in, self._held)) < self._size:
            return None
        held, self._held = self._held, []
        return Sample(to_unroll(side_by_side(held)), *self._sample)

    def _young(self, leaves: Leaves) -> list[Leaves]:
        # Nobody acted at LAST, so that its version says nothing.
        acted = leaves["step_type"][:-1] != StepType.LAST
        oldest = np.where(acted, leaves["version"][:-1], np.iinfo(np.int64).max).min(axis=0)
        young = np.flatnonzero(oldest >= self._version() - self._max_lag)
        self.too_old += len(oldest) - len(young)
        return [cut_columns(leaves, int(column), int(column) + 1) for column in young]

    def learned(self, sample: Sample, priorities: np.ndarray | None) -> None:
        pass

    def figures(self) -> dict[str, Any]:
        return {"unrolls_too_old": self.too_old} if self._max_lag else {}

    def state(self, waiting: list[Leaves]) -> Mapping[str, np.ndarray]:
        held = [*self._held, *waiting]
        return {f"{_WAITING}{name}": leaf for name, leaf in side_by_side(held).items()} if held else {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        waiting = {name.removeprefix(_WAITING): leaf for name, leaf in state.items() if name.startswith(_WAITING)}
        if not waiting:
            return
        try:
            self._source.put_back(waiting)
        except ValueError as error:
            log.warning("%d unrolls that waited for training are dropped: %s", unrolls_in(waiting), error)


class ReplayFeed:
    """Unrolls into a replay, sequences out of it, in the proportion that the settings ask for.

    Neither side runs ahead: nothing is drawn once each sequence has been drawn `samples_per_insert` times on
    average, and nothing is taken in that could not be drawn so often soon (Cassirer et al. 2021, "Reverb"). What is
    not taken in waits at the servers, which make actors wait or shed it, by their own setting.

    Args:
      settings: the batch and the replay.
      spec: the agent's.
      source: where unrolls come in.
    """

    def __init__(self, settings: LearnerSettings, spec: AgentSpec, source: UnrollSource) -> None:
        parts = unroll_spec(spec.observation, spec.outputs, spec.state)
        self._source = source
        self._size = settings.batch_unrolls
        self._ratio = settings.replay.samples_per_insert
        self._least = settings.replay.min_size
        self._keeps = settings.replay.checkpoint
        self._unroll_steps = spec.unroll_length + 1 - spec.overlap
        self._replay = Replay(
            settings.replay, parts, spec.unroll_length, spec.sample_length, spec.overlap, spec.context
        )
        self._slack = self._ratio * max(settings.replay.slack, self._size / self._ratio)
        self._before = 0  # sequences that were put in before drawing began
        log.info("the replay holds %d steps in up to %.1f MB", settings.replay.capacity, self._replay.nbytes / 1e6)

    @span("wait for unrolls")
    def next(self) -> Sample | None:
        owed = self._owed()
        if self._filling or owed < self._slack:
            # With enough to train on, nothing waits for more.
            self._take_in(self._room(), wait_s=WAIT_S if self._filling or owed < self._size else 0.0)
        return self._draw() if self._draws else None

    def learned(self, sample: Sample, priorities: np.ndarray | None) -> None:
        if priorities is not None:
            self._replay.update(sample.keys, priorities)

    def figures(self) -> dict[str, Any]:
        replay = self._replay
        drawn = replay.sampled / max(replay.inserted - self._before, 1)
        return {"replay_steps": replay.steps, "replay_bytes": replay.nbytes, "samples_per_insert": drawn}

    def state(self, waiting: list[Leaves]) -> Mapping[str, np.ndarray]:
        # What waits is small beside the replay, and is forgotten with it.
        if not self._keeps:
            return {}
        return {**self._replay.state(), "before": np.array(self._before, np.int64)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        if all(name.startswith(_WAITING) for name in state):
            return  # of an agent that replayed nothing
        self._replay.restore(state)
        self._before = int(state["before"])

    @property
    def _filling(self) -> bool:
        return self._replay.steps < self._least or not self._replay.sequences

    @property
    def _draws(self) -> bool:
        """Whether there is enough to draw from, and a whole batch is owed."""
        return not self._filling and self._owed() >= self._size

    def _draw(self) -> Sample:
        return self._replay.sample(self._size, np.random.mtrand._rand)

    def _owed(self) -> float:
        """How many more sequences should be drawn of what has been put in."""
        return self._ratio * (self._replay.inserted - self._before) - self._replay.sampled

    def _room(self) -> int:
        """Unrolls that may be taken in now: 1 or more, and no more than the replay holds."""
        if self._filling:
            wanted = (self._least - self._replay.steps) / self._unroll_steps
        else:
            wanted = (self._slack - self._owed()) / (self._ratio * self._replay.starts)
        return min(max(math.ceil(wanted), 1), self._replay.capacity)

    def _take_in(self, most: int, wait_s: float) -> bool:
        """Put up to so many unrolls in; whether any came."""
        leaves = self._source.take(most, wait_s)
        if leaves is None:
            return False
        if self._filling:
            # What came before the replay held enough is drawn from, and owes nothing.
            self._before = self._replay.inserted
        self._replay.add(leaves)
        return True
