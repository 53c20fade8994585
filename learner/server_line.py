"""What one server has delivered: how far it has been accepted, and what waits for its turn."""

from __future__ import annotations

from typing import NamedTuple

from corral.protocol import UnrollManifest
from corral.protocol.limits import MAX_COUNT
from corral.protocol.unrolls import Leaves


class Account(NamedTuple):
    """What has been accepted from one server.

    Attributes:
      cursor: the last accepted parcel.
      held: environment steps that the server's unrolls held up to that parcel, by its own count.
      lost: those of them that are not here: an earlier life had accepted them behind its last checkpoint.
    """

    cursor: int
    held: int = 0
    lost: int = 0

    @property
    def accepted(self) -> int:
        """Environment steps of the server that are here, or were trained on."""
        return self.held - self.lost


class Accepted(NamedTuple):
    """A parcel whose turn has come.

    Attributes:
      manifest: what its server says of it.
      leaves: its unrolls.
      lost: environment steps that this parcel shows to be lost, of those whose loss is told.
    """

    manifest: UnrollManifest
    leaves: Leaves
    lost: int


class ServerLine:
    """The parcels of one server, numbered from 1 on, each accepted once and in order.

    Args:
      routing: where answers go.
      account: what has been accepted of it so far.
      known: whether that is all, so that a gap in its counts is a loss. Else what the first parcel finds missing
        was another's to accept.

    Attributes:
      routing, account: as above, now.
      unrolls: in the parcels that wait.
      delivered: whether it has brought anything in this life.
    """

    def __init__(self, routing: bytes, account: Account, *, known: bool) -> None:
        self.routing = routing
        self.account = account
        self.unrolls = 0
        self.delivered = False
        self._known = known
        self._waiting: dict[int, tuple[UnrollManifest, Leaves]] = {}  # by number, with gaps

    @property
    def has_next(self) -> bool:
        """Whether the parcel that is to be accepted next has come."""
        return self._next in self._waiting

    @property
    def _next(self) -> int:
        return self.account.cursor + 1

    def is_next(self, number: int) -> bool:
        """Whether that parcel is the one to be accepted next."""
        return number == self._next

    def fits(self, number: int, window: int) -> bool:
        """Whether that parcel may wait here: it does not yet, and the window was granted for it."""
        ahead = number > self.account.cursor + window
        full = self.unrolls >= window and not self.is_next(number)
        return not (number in self._waiting or ahead or full)

    def put(self, number: int, manifest: UnrollManifest, leaves: Leaves) -> None:
        """Have a parcel wait for its turn."""
        self._waiting[number] = manifest, leaves
        self.unrolls += manifest.unrolls
        self.delivered = True

    def accept(self) -> Accepted:
        """The next parcel, which must have come; it waits no more, and the account has it."""
        cursor, held, lost = self.account
        manifest, leaves = self._waiting.pop(self._next)
        self.unrolls -= manifest.unrolls
        # What came between the last parcel that we know and this one was accepted, and is no more.
        gap = max(manifest.held_before - held, 0)
        held = min(manifest.held_before + manifest.held, MAX_COUNT)
        self.account = Account(cursor + 1, held, min(lost + gap, MAX_COUNT))
        told, self._known = gap if self._known else 0, True
        return Accepted(manifest, leaves, told)
