"""What a learner trains on in lockstep: chunks of unrolls, each of which makes one policy version
(docs/determinism.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from corral.agents import AgentSpec
from corral.telemetry.tracer import span
from learner.feed import WAIT_S, Feed, FreshFeed, ReplayFeed
from learner.replay import Sample
from learner.settings import LearnerSettings
from learner.unroll_source import UnrollSource


class ChunkedFeed(Feed, Protocol):
    """A feed whose batches are a function of the unrolls alone, and not of when they come."""

    @property
    def came(self) -> bool:
        """Whether the chunk for the next policy version is here."""
        ...

    @property
    def used_up(self) -> bool:
        """Whether the chunk is here, and nothing is to be trained on any more until another one is."""
        ...

    def turn(self) -> None:
        """The next policy version is out: the next chunk comes."""
        ...


class FreshChunks(FreshFeed):
    """Each chunk in a fixed number of batches. See `ChunkedFeed`.

    Args:
      size: unrolls in a batch.
      batches: of a chunk.
    """

    def __init__(self, source: UnrollSource, size: int, batches: int) -> None:
        super().__init__(source, size)
        self._batches = batches
        self._handed_out = 0

    @property
    def came(self) -> bool:
        return self._handed_out > 0

    @property
    def used_up(self) -> bool:
        return self._handed_out == self._batches

    def next(self) -> Sample | None:
        sample = None if self.used_up else super().next()
        self._handed_out += sample is not None
        return sample

    def turn(self) -> None:
        self._handed_out = 0


class ReplayChunks(ReplayFeed):
    """Each chunk into the replay, and out of it all that is owed by then. See `ChunkedFeed`.

    Args:
      chunk: unrolls in one.
    """

    def __init__(self, settings: LearnerSettings, spec: AgentSpec, source: UnrollSource, chunk: int) -> None:
        super().__init__(settings, spec, source)
        self._chunk = chunk
        self._came = False

    @property
    def came(self) -> bool:
        return self._came

    @property
    def used_up(self) -> bool:
        return self._came and not self._draws

    @span("wait for unrolls")
    def next(self) -> Sample | None:
        if not self._came:
            self._came = self._take_in(self._chunk, WAIT_S)
        return self._draw() if self._came and self._draws else None

    def turn(self) -> None:
        self._came = False


def chunks_of(
    settings: LearnerSettings, spec: AgentSpec, source: UnrollSource, chunk: int
) -> FreshChunks | ReplayChunks:
    """The feed of an agent in lockstep; `chunk` unrolls make a policy version."""
    if spec.replay:
        return ReplayChunks(settings, spec, source, chunk)
    return FreshChunks(source, settings.batch_unrolls, chunk // settings.batch_unrolls)


def fingerprint(state: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of names, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(state):
        leaf = np.ascontiguousarray(state[name])
        digest.update(f"{name} {leaf.dtype.str} {leaf.shape}\n".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()
