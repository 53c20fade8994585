"""Lockstep: when all environments step, what leaves for the learner, and when it all begins anew. Pure: no I/O, no
clock (docs/determinism.md)."""

from __future__ import annotations

from collections.abc import Sequence

from corral.protocol.unrolls import Columns, cut_columns, side_by_side, unrolls_in


class Lockstep:
    """Makes what a server does a function of the weights that it is sent, whoever comes first.

    A tick steps all environments at once. Unrolls leave in chunks of one size, and behind each chunk nothing is
    stepped until the next policy version acts. A *generation* begins with every version that is a multiple of
    `spacing`, and with every learner's first: all sessions end then, so that environments are reset, and nothing
    of what was begun before is kept. So a run that goes on from a checkpoint, which lies just there, sees what one
    that was never interrupted sees.

    Args:
      environments: how many there are, all in all.
      chunk: unrolls from one policy version to the next.
      spacing: policy versions from one generation to the next.

    Attributes:
      dropped_steps: environment steps in unrolls that a new generation left behind.
      broken: whether a session was lost in the middle of a generation, which then cannot go on.
    """

    def __init__(self, environments: int, chunk: int, spacing: int) -> None:
        self.environments = environments
        self._chunk = chunk
        self._spacing = spacing
        self._epoch = 0
        self._open = False
        self._stepped = False
        self._kept: list[Columns] = []
        self.dropped_steps = 0
        self.broken = False

    @property
    def waits(self) -> bool:
        """Whether nothing is stepped before another policy version acts."""
        return not self._open or self.broken

    @property
    def kept_steps(self) -> int:
        """Environment steps in the unrolls that are kept back."""
        return sum(columns.steps for columns in self._kept)

    def may_step(self, seats: int, sessions: int, waiting: int) -> bool:
        """Whether all environments can step now.

        Args:
          seats: environments of all sessions.
          sessions: how many there are.
          waiting: STEPs that wait: one of each session at most.
        """
        return not self.waits and seats == self.environments and waiting == sessions

    def gather(self, full: Sequence[Columns]) -> list[Columns]:
        """Take in what a tick has completed; the next chunk, where it is complete and the last one was used."""
        self._kept += full
        if not self._open or sum(map(unrolls_in, self._kept)) < self._chunk:
            return []
        self._open = False
        steps = self.kept_steps
        kept = side_by_side([*self._kept])
        # Which steps are whose is not known column by column: the chunk counts them all, the rest none.
        rest = cut_columns(kept, self._chunk, unrolls_in(kept))
        self._kept = [Columns(rest, 0)] if unrolls_in(rest) else []
        return [Columns(cut_columns(kept, 0, self._chunk), steps)]

    def ticked(self) -> None:
        """All environments have stepped."""
        self._stepped = True

    def lost(self, *, waited: bool) -> None:
        """A session has ended; `waited` says whether a STEP of it waits."""
        self.broken = self.broken or self._stepped or waited

    def flipped(self, epoch: int, version: int) -> bool:
        """A policy version has begun to act. Whether a generation begins with it."""
        begins = epoch != self._epoch or version % self._spacing == 0
        self._epoch, self._open = epoch, True
        if begins:
            self.dropped_steps += self.kept_steps
            self._kept.clear()
            self._stepped = self.broken = False
        return begins
