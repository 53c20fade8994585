"""How several servers of one run do, asked now and then on a thread of its own; and which of them to use."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import zmq

from actor_client.balance import Balance
from actor_client.line import LATER
from corral.protocol import (
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    ProtocolError,
    Welcome,
    open_dealer,
    pack_control,
    unpack_control,
    unpack_header,
)
from corral.protocol.keys import Caller

log = logging.getLogger(__name__)

DOUBT_S = 1.0
"""Seconds for which a session waits for an answer before its server is asked whether it is there: it may have good
reasons to keep a session waiting, and answers questions all the same."""
_NAP_MS = 250
_UNLIMITED = 1 << 40
"""Room at a server that refuses for good: whoever goes there hears why."""


class Servers(Protocol):
    """Tells sessions which server to be with. For any thread."""

    @property
    def addresses(self) -> Sequence[str]:
        """Of all servers."""
        ...

    @property
    def round(self) -> int:
        """Grows whenever `move` may have another answer."""
        ...

    def choose(self, environments: int) -> str | None:
        """The server that a session of so many environments should join; None where none lets it in now."""
        ...

    def elsewhere(self, address: str, refusal: ErrorCode | None) -> bool:
        """Whether to `choose` again, for the server refused to let a session in, or has not answered (None)."""
        ...

    def lost(self, address: str, asked: float) -> bool:
        """Whether a server has gone that has not answered since `asked`, a reading of `time.monotonic`."""
        ...

    def move(self, address: str, environments: int) -> str | None:
        """Where a session should move to from `address`; None where it should stay."""
        ...


class OneServer:
    """The only server there is: waited for, whatever happens."""

    round = 0

    def __init__(self, address: str) -> None:
        self.addresses: Sequence[str] = (address,)

    def choose(self, environments: int) -> str | None:
        """See `Servers`."""
        return self.addresses[0]

    def elsewhere(self, address: str, refusal: ErrorCode | None) -> bool:
        """See `Servers`."""
        return False

    def lost(self, address: str, asked: float) -> bool:
        """See `Servers`."""
        return False

    def move(self, address: str, environments: int) -> str | None:
        """See `Servers`."""
        return None


class Scout(threading.Thread):
    """Asks every server now and then how many environments it has, by a greeting that opens no session.

    Use it in a `with` block.

    Args:
      addresses: of the servers, different ones.
      silent_after_s: seconds of silence after which a server counts as gone.
      home: which server to join first where loads are equal; None leaves that to chance.
      keys: where the servers have keys.

    Raises:
      AddressError: an address is malformed.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        silent_after_s: float,
        home: int | None = None,
        keys: Caller | None = None,
    ) -> None:
        super().__init__(name="scout", daemon=True)
        self.addresses: Sequence[str] = tuple(addresses)
        self._keys = keys
        self._balance = Balance(
            self.addresses,
            silent_after_s=silent_after_s,
            home=home,
            clock=time.monotonic,
            chance=random.Random(),
        )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._context = zmq.Context()
        self._told: set[str] = set()
        self._sequence = 0
        self._sockets: dict[str, zmq.SyncSocket] = {}
        try:
            for address in self.addresses:
                self._sockets[address] = open_dealer(self._context, address, keys)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._owes = dict.fromkeys(self.addresses, False)

    def __enter__(self) -> Scout:
        self.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self.join(5)

    @property
    def round(self) -> int:
        """See `Servers`."""
        return self._balance.round

    def choose(self, environments: int) -> str | None:
        """See `Servers`."""
        with self._lock:
            return self._balance.choose(environments)

    def elsewhere(self, address: str, refusal: ErrorCode | None) -> bool:
        """See `Servers`."""
        with self._lock:
            if refusal is ErrorCode.BUSY:
                self._balance.full(address)
            elif refusal is not None:
                self._balance.refused(address)
            return refusal is not None or self._balance.gone(address)

    def lost(self, address: str, asked: float) -> bool:
        """See `Servers`."""
        if time.monotonic() - asked < DOUBT_S:
            return False
        with self._lock:
            self._balance.doubt(address)
            return self._balance.gone(address)

    def move(self, address: str, environments: int) -> str | None:
        """See `Servers`."""
        with self._lock:
            return self._balance.move(address, environments)

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                with self._lock:
                    due = self._balance.due()
                for address in due:
                    self._ask(address)
                self._listen()
        finally:
            self._context.destroy(linger=0)

    def _listen(self) -> None:
        poller = zmq.Poller()
        for socket in self._sockets.values():
            poller.register(socket, zmq.POLLIN)
        heard = dict(poller.poll(_NAP_MS))
        for address, socket in self._sockets.items():
            if socket in heard:
                self._hear(address, socket.recv_multipart()[0])

    def _ask(self, address: str) -> None:
        if self._owes[address]:
            # Who is away shall not find a heap of questions when it comes back.
            self._sockets[address].close(0)
            self._sockets[address] = open_dealer(self._context, address, self._keys)
        self._owes[address] = True
        self._sequence += 1
        self._sockets[address].send(pack_control(MessageType.HELLO, 0, self._sequence, Hello("client")))

    def _hear(self, address: str, frame: bytes) -> None:
        self._owes[address] = False
        try:
            taken, slots = _seats(frame)
        except ProtocolError as refusal:
            if refusal.code in LATER:
                with self._lock:
                    self._balance.refused(address)
                return
            if refusal.text not in self._told:
                self._told.add(refusal.text)
                log.warning("%s: %s", address, refusal)
            taken, slots = 0, _UNLIMITED
        with self._lock:
            self._balance.heard(address, taken, slots)


def _seats(frame: bytes) -> tuple[int, int]:
    """How many environments a server has, and how many it can have. Raises `ProtocolError`."""
    header = unpack_header(frame)
    if header.type == MessageType.ERROR:
        raise unpack_control(Failure, frame).error()
    welcome = unpack_control(Welcome, frame)
    return welcome.taken, welcome.slots
