"""Whom to hit, how, and when: drawn from a seed."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from corral.launch.errors import UserError
from corral.launch.process import RESTARTS_PER_MINUTE

ROLES = ("actor", "server", "learner")
ACTS: tuple[Literal["kill", "freeze"], ...] = ("kill", "freeze")
KINDS = tuple(f"{act}-{role}" for act in ACTS for role in ROLES)

_SPARED_S = 62.0
"""A launcher counts a process's restarts over a minute; and a little, since it sees a death later than we do."""
_SHORT_S = (0.5, 4.0)
"""Seconds of three freezes in four: they should pass unnoticed."""
_BEYOND_S = (0.5, 3.0)
"""Seconds beyond the lease of the fourth, after which nobody's session is what it was."""


@dataclass(frozen=True)
class Injury:
    """One act against one process.

    Attributes:
      kind: one of `KINDS`.
      name: of the process.
      frozen_s: seconds from SIGSTOP to SIGCONT; 0 where it is killed.
    """

    kind: str
    name: str
    frozen_s: float = 0.0

    @property
    def role(self) -> str:
        """What the process plays."""
        return self.kind.partition("-")[2]


def kinds_of(text: str) -> tuple[str, ...]:
    """The kinds that a text such as "kill,freeze-server" names. Raises `UserError` for any other word."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in (*KINDS, *ACTS):
            raise UserError(f"--kinds {text}: {word!r} is none of {', '.join((*ACTS, *KINDS))}")
    return tuple(kind for kind in KINDS if kind in words or kind.partition("-")[0] in words)


class Plan:
    """Draws injuries: intervals as of radioactive decay, kinds and processes evenly.

    No process is killed so often that its launcher would give it up.

    Args:
      seed: the same seed draws the same injuries, as long as the same processes can be hit.
      interval_s: mean seconds from one injury to the next.
      kinds: of `KINDS`, which to draw from.
      lease_s: of sessions: one freeze in four is longer.
    """

    def __init__(self, seed: int, interval_s: float, kinds: Sequence[str], lease_s: float) -> None:
        self._random = random.Random(seed)
        self._interval_s = interval_s
        self._kinds = kinds
        self._lease_s = lease_s
        self._kills: dict[str, deque[float]] = {}

    def pause_s(self) -> float:
        """Seconds until the next injury."""
        return self._random.expovariate(1 / self._interval_s)

    def next(self, healthy: Collection[str], now: float) -> Injury | None:
        """The injury that is due now, or None where no kind finds anybody.

        Args:
          healthy: names of the processes that can be hit.
          now: clock reading, in seconds.
        """
        kinds = [(kind, names) for kind in self._kinds if (names := self._victims(kind, healthy, now))]
        if not kinds:
            return None
        kind, names = self._random.choice(kinds)
        name = self._random.choice(names)
        if kind.startswith("kill"):
            self._kills.setdefault(name, deque(maxlen=RESTARTS_PER_MINUTE)).append(now)
            return Injury(kind, name)
        return Injury(kind, name, self._frozen_s())

    def _victims(self, kind: str, healthy: Collection[str], now: float) -> list[str]:
        act, _, role = kind.partition("-")
        names = sorted(name for name in healthy if name.partition("-")[0] == role)
        if act == "freeze":
            return names
        return [name for name in names if not self._used_up(name, now)]

    def _used_up(self, name: str, now: float) -> bool:
        kills = self._kills.get(name, ())
        return sum(now - at < _SPARED_S for at in kills) >= RESTARTS_PER_MINUTE - 1

    def _frozen_s(self) -> float:
        if self._random.random() < 0.75:
            return self._random.uniform(*_SHORT_S)
        return self._lease_s + self._random.uniform(*_BEYOND_S)
