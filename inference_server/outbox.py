"""Completed unrolls on their way to the learner: filled by the serving thread, emptied by the learner's."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, NamedTuple

from corral.protocol import UnrollManifest
from corral.protocol.unrolls import Columns, Leaves, side_by_side, unrolls_in

MAX_EPISODES = 16_384
"""Most episodes in one parcel: its manifest has to fit a control message, however long the learner was away."""


class Parcel(NamedTuple):
    """Unrolls that travel together; the learner accepts them whole, once."""

    sequence: int
    manifest: UnrollManifest
    leaves: Leaves


class Whereabouts(NamedTuple):
    """Where the environment steps are that completed unrolls held.

    Attributes:
      accepted: the learner has them.
      shed: nobody does.
      waiting: they wait for the learner, sent or not.
    """

    accepted: int
    shed: int
    waiting: int


class Outbox:
    """Holds unrolls until the learner has accepted them; never more than the learner's window and one batch.

    Args:
      when_full: "block": `blocked` says so, and the serving thread stops stepping; "shed": the oldest unrolls
        that have not been sent yet are dropped and counted, and so are all but the latest episodes.

    Attributes:
      when_full: as given.
      epoch: of the learner for which alone all this is; 0 where it is for whichever there is.
    """

    def __init__(self, when_full: Literal["block", "shed"]) -> None:
        self.when_full = when_full
        self.epoch = 0
        self._lock = threading.Lock()
        self._waiting: deque[Columns] = deque()
        self._sent: deque[Parcel] = deque()
        self._steps = 0
        self._episodes: list[list[float]] = []
        self._window = 1
        self._held = 0
        self._sequence = 0
        self._put_steps = 0
        self._sent_steps = 0
        self.shed_unrolls = 0
        self.shed_steps = 0
        self.shed_episodes = 0
        self.accepted_unrolls = 0
        self.accepted_steps = 0

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
        return self.when_full == "block" and self._held >= self._window

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
        with self._lock:
            return self._sent[0].sequence if self._sent else self._sequence + 1

    @property
    def steps(self) -> Whereabouts:
        """What has become of every environment step in the unrolls that were put in, at one moment."""
        with self._lock:
            waiting = self._put_steps - self.accepted_steps - self.shed_steps
            return Whereabouts(self.accepted_steps, self.shed_steps, waiting)

    def put(self, full: list[Columns], steps: int, episodes: list[list[float]]) -> None:
        """Take in what a batch of steps gave: full columns, steps completed, episodes that ended."""
        with self._lock:
            self._steps += steps
            self._episodes += episodes
            for columns in full:
                self._waiting.append(columns)
                self._held += unrolls_in(columns)
                self._put_steps += columns.steps
            while self.when_full == "shed" and self._held > self._window and self._waiting:
                shed = self._waiting.popleft()
                self._held -= unrolls_in(shed)
                self.shed_unrolls += unrolls_in(shed)
                self.shed_steps += shed.steps
            if self.when_full == "shed" and len(self._episodes) > MAX_EPISODES:
                surplus = len(self._episodes) - MAX_EPISODES
                del self._episodes[:surplus]
                self.shed_episodes += surplus

    def collect(self) -> Parcel | None:
        """Everything that waits, as one parcel, which counts as sent from here on; None where nothing waits."""
        with self._lock:
            if not self._waiting:
                return None
            columns, epoch = list(self._waiting), self.epoch
            self._waiting.clear()
            steps, self._steps = self._steps, 0
            episodes, self._episodes = self._episodes[:MAX_EPISODES], self._episodes[MAX_EPISODES:]
        held = sum(each.steps for each in columns)
        manifest = UnrollManifest(sum(map(unrolls_in, columns)), steps, episodes, held, self._sent_steps)
        parcel = Parcel(self._sequence + 1, manifest, side_by_side([*columns]))
        with self._lock:
            if self.epoch != epoch:
                return None  # `renew` came meanwhile
            self._sequence += 1
            self._sent_steps += held
            self._sent.append(parcel)
        return parcel

    def renew(self, epoch: int) -> None:
        """Hold nothing any more that another learner than that of `epoch` was to get: dropped, and counted."""
        with self._lock:
            if epoch == self.epoch:
                return
            self.shed_unrolls += self._held
            self.shed_steps = self._put_steps - self.accepted_steps
            self.shed_episodes += len(self._episodes)
            self._waiting.clear()
            self._sent.clear()
            self._steps = self._held = 0
            self._episodes = []
            self.epoch = epoch  # last: whoever sees it sees the rest

    def unaccepted(self) -> list[Parcel]:
        """The parcels that were sent and not accepted, oldest first."""
        with self._lock:
            return list(self._sent)

    def accept(self, sequence: int) -> bool:
        """The learner has accepted every parcel up to `sequence`. Whether this ends a block."""
        # Under one lock, so that no `put` comes between the two looks and blocks the actors unnoticed.
        with self._lock:
            was_blocked = self.blocked
            while self._sent and self._sent[0].sequence <= sequence:
                manifest = self._sent.popleft().manifest
                self._held -= manifest.unrolls
                self.accepted_unrolls += manifest.unrolls
                self.accepted_steps += manifest.held
            return was_blocked and not self.blocked
