"""Pushing policy versions to every server: the newest one, verified, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from corral.protocol import (
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    unpack_control,
)
from corral.protocol.limits import QUEUED_VERSIONS
from corral.protocol.weights import check_finite, in_epoch, pack_weights
from corral.telemetry.tracer import span
from learner.listener import MAX_SERVERS, Listener, check_server

log = logging.getLogger(__name__)

RESEND_AFTER_S = 5.0
LAST_EPOCH = 2**63
"""No learner's: what claims to be later does not count."""


@dataclass
class _Peer:
    """One server: what it holds, and what it has been sent and not answered yet."""

    routing: bytes
    held: tuple[int, int]
    sent: tuple[int, int] | None = None
    sent_at: float = 0.0
    refused: tuple[int, int] | None = None


class WeightPublisher(Listener):
    """Listens for servers and keeps each on the newest version. A slow server skips versions, and slows nobody.

        publisher = WeightPublisher("tcp://127.0.0.1:5557")
        publisher.publish({"policy/dense/kernel": kernel, ...})

    Args:
      address: where servers connect.
      insecure: listen on an address that other machines can reach, without keys.
      keys: the folder of the learner's keys; whoever connects must have keys too.
      epoch: of this learner's life; servers refuse what is older than what they hold. The default counts
        milliseconds, so that a learner that starts later is a later one. Where the clock was set back meanwhile,
        the first word of a server that holds a later one makes this one later still.
      version: the last one that an earlier life of this learner published; counting goes on from there.
      clock: seconds, monotonic.

    Raises:
      AddressError: the address cannot be listened on.
      KeysError: the keys cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        insecure: bool = False,
        keys: Path | str | None = None,
        epoch: int | None = None,
        version: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A server that reads nothing must not fill this memory with every version that comes meanwhile.
        super().__init__(address, name="weight-publisher", insecure=insecure, keys=keys, queued_out=QUEUED_VERSIONS)
        self.epoch = time.time_ns() // 1_000_000 if epoch is None else epoch
        self.version = version
        self.last_refusal = ""
        self._clock = clock
        self._peers: dict[int, _Peer] = {}  # whoever greeted last comes last
        self._greeted = 0
        self._acted = False
        self._lock = threading.Lock()
        self._frames: list[bytes | memoryview] = []
        self._thread.start()

    def publish(self, weights: Mapping[str, np.ndarray], version: int | None = None) -> int:
        """Make `weights` the newest version: the next one, or `version`, which must be higher than the last.

        The arrays are copied: they are yours again when this returns.

        Returns:
          the version.

        Raises:
          ProtocolError: WEIGHTS where a value is not finite; the last version stays the newest.
          ValueError: `version` is not higher than the last.
        """
        version = self.version + 1 if version is None else version
        if version <= self.version:
            raise ValueError(f"version {version} is not higher than {self.version}, which was published before")
        check_finite(weights)
        frames = pack_weights(self.epoch, version, weights)
        with self._lock:
            self._frames, self.version = in_epoch(self.epoch, frames), version
        self._waker.wake()
        return version

    @property
    def servers(self) -> int:
        """How many servers have ever connected."""
        return self._greeted

    def _handle(self, routing: bytes, header: Header, head: bytes, frames: list[zmq.Frame]) -> None:
        if header.type == MessageType.HELLO:
            self._on_hello(routing, header, unpack_control(Hello, head))
        elif header.type in (MessageType.TAKEN, MessageType.ERROR):
            self._on_answer(routing, header, head)
        else:
            raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"no messages of type {header.type} here")

    def _on_hello(self, routing: bytes, header: Header, hello: Hello) -> None:
        check_server(hello)
        held = (hello.epoch, header.sequence)
        self._come_after(hello.epoch)
        peer = self._peers.pop(header.session, None)
        if peer is None:
            # A connection is one server's: who calls itself by ever more names is not sent weights for each.
            for name in [name for name, other in self._peers.items() if other.routing == routing]:
                del self._peers[name]
            peer = _Peer(routing, held)
            self._greeted += 1
        self._peers[header.session] = peer
        if len(self._peers) > MAX_SERVERS:
            # Servers greet twice a second: one that still lives is known again soon, and nothing of it is lost.
            del self._peers[next(iter(self._peers))]
        if peer.routing != routing:
            # The server's connection is a new one: what was on its way on the old one is lost.
            peer.routing, peer.sent = routing, None
        peer.held = held
        if peer.sent is not None and held >= peer.sent:
            peer.sent = None  # it was taken up; only the word of it was lost

    def _on_answer(self, routing: bytes, header: Header, head: bytes) -> None:
        known = [peer for peer in self._peers.values() if peer.routing == routing]
        if not known:
            raise ProtocolError(ErrorCode.EXPIRED, "no such server here: say HELLO")
        peer, answered = known[0], (header.session, header.sequence)
        if answered == peer.sent:
            # The answer to anything else is late or doubled, and what was sent since is still on its way.
            peer.sent = None
        if header.type == MessageType.TAKEN:
            self._acted = True
            peer.held = max(peer.held, answered)
            return
        failure = unpack_control(Failure, head).error()
        self.last_refusal = failure.text
        peer.refused = answered
        self._complaints.say(logging.ERROR, "a server refused version %d: %s", header.sequence, failure.text)

    def _come_after(self, epoch: int) -> None:
        """Make this learner's epoch later than a server's, whatever the clocks said: unless its weights have acted,
        for then a later learner has taken its place."""
        self._acted = self._acted or epoch == self.epoch
        if self._acted or not self.epoch < epoch < LAST_EPOCH:
            return
        log.warning("a server holds weights of epoch %d, later than this one's: the clock was set back", epoch)
        with self._lock:
            self.epoch = epoch + 1
            self._frames = in_epoch(self.epoch, self._frames)

    @span("send weights")
    def _work(self) -> None:
        with self._lock:
            frames, newest = self._frames, (self.epoch, self.version)
        if not frames:
            return
        now = self._clock()
        for peer in self._peers.values():
            late = peer.sent is not None and now - peer.sent_at > RESEND_AFTER_S
            if (peer.sent is None or late) and newest not in (peer.held, peer.refused):
                peer.sent, peer.sent_at = newest, now
                self._send(peer.routing, frames)
