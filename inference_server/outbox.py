"""Completed unrolls on their way to the learner: filled by the serving thread, emptied by the learner's."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, NamedTuple

import numpy as np

from corral.protocol import UnrollManifest
from corral.protocol.unrolls import side_by_side, unrolls_in

Leaves = dict[str, np.ndarray]

MAX_EPISODES = 16_384
"""Most episodes in one parcel: its manifest has to fit a control message, however long the learner was away."""


class Parcel(NamedTuple):
    """Unrolls that travel together; the learner accepts them whole, once."""

    sequence: int
    manifest: UnrollManifest
    leaves: Leaves


class Outbox:
    """Holds unrolls until the learner has accepted them; never more than the learner's window and one batch.

    Args:
      when_full: "block": `blocked` says so, and the serving thread stops stepping; "shed": the oldest unrolls
        that have not been sent yet are dropped and counted, and so are all but the latest episodes.
    """

    def __init__(self, when_full: Literal["block", "shed"]) -> None:
        self._when_full = when_full
        self._lock = threading.Lock()
        self._waiting: deque[Leaves] = deque()
        self._sent: deque[Parcel] = deque()
        self._steps = 0
        self._episodes: list[list[float]] = []
        self._window = 1
        self._held = 0
        self._sequence = 0
        self.shed_unrolls = 0
        self.shed_episodes = 0
        self.accepted_unrolls = 0

    @property
    def window(self) -> int:
        """Most unrolls that may wait for acceptance, as the learner granted."""
        return self._window

    @window.setter
    def window(self, unrolls: int) -> None:
        self._window = max(1, unrolls)

    @property
    def blocked(self) -> bool:
        """Whether actors should wait for the learner."""
        return self._when_full == "block" and self._held >= self._window

    @property
    def unaccepted_unrolls(self) -> int:
        """Unrolls that wait here, to be sent or to be accepted."""
        return self._held

    @property
    def unsent(self) -> bool:
        """Whether unrolls wait to be sent."""
        return bool(self._waiting)

    @property
    def first_sequence(self) -> int:
        """The sequence of the first parcel that is not known to be accepted."""
        return self._sent[0].sequence if self._sent else self._sequence + 1

    def put(self, full: list[Leaves], steps: int, episodes: list[list[float]]) -> None:
        """Take in what a batch of steps gave: full columns, steps completed, episodes that ended."""
        with self._lock:
            self._steps += steps
            self._episodes += episodes
            for columns in full:
                self._waiting.append(columns)
                self._held += unrolls_in(columns)
            while self._when_full == "shed" and self._held > self._window and self._waiting:
                dropped = unrolls_in(self._waiting.popleft())
                self._held -= dropped
                self.shed_unrolls += dropped
            if self._when_full == "shed" and len(self._episodes) > MAX_EPISODES:
                surplus = len(self._episodes) - MAX_EPISODES
                del self._episodes[:surplus]
                self.shed_episodes += surplus

    def collect(self) -> Parcel | None:
        """Everything that waits, as one parcel, which counts as sent from here on; None where nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            columns = list(self._waiting)
            self._waiting.clear()
            steps, self._steps = self._steps, 0
            episodes, self._episodes = self._episodes[:MAX_EPISODES], self._episodes[MAX_EPISODES:]
        self._sequence += 1
        manifest = UnrollManifest(sum(map(unrolls_in, columns)), steps, episodes)
        parcel = Parcel(self._sequence, manifest, side_by_side(columns))
        self._sent.append(parcel)
        return parcel

    def unaccepted(self) -> list[Parcel]:
        """The parcels that were sent and not accepted, oldest first."""
        return list(self._sent)

    def accept(self, sequence: int) -> bool:
        """The learner has accepted every parcel up to `sequence`. Whether this ends a block."""
        # Under one lock, so that no `put` comes between the two looks and blocks the actors unnoticed.
        with self._lock:
            was_blocked = self.blocked
            while self._sent and self._sent[0].sequence <= sequence:
                unrolls = self._sent.popleft().manifest.unrolls
                self._held -= unrolls
                self.accepted_unrolls += unrolls
            return was_blocked and not self.blocked
