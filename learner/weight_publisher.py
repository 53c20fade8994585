"""Pushing policy versions to every server: the newest one, verified, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import zmq

from corral.protocol import (
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    open_router,
    pack_control,
    remove_socket_file,
    unpack_control,
    unpack_header,
)
from corral.protocol.waker import Waker
from corral.protocol.weights import check_finite, pack_weights

log = logging.getLogger(__name__)

RESEND_AFTER_S = 5.0


@dataclass
class _Peer:
    """One server: what it holds, and what it has been sent and not answered yet."""

    routing: bytes
    held: tuple[int, int]
    sent: tuple[int, int] | None = None
    sent_at: float = 0.0
    refused: tuple[int, int] | None = None


class WeightPublisher:
    """Listens for servers and keeps each on the newest version. A slow server skips versions, and slows nobody.

        publisher = WeightPublisher("tcp://127.0.0.1:5557")
        publisher.publish({"policy/dense/kernel": kernel, ...})

    Args:
      address: where servers connect.
      insecure: listen on an address that other machines can reach.
      epoch: of this learner's life; servers refuse what is older than what they hold. The default counts
        milliseconds, so that a learner that starts later is a later one.

    Raises:
      AddressError: the address cannot be listened on.
    """

    def __init__(self, address: str, *, insecure: bool = False, epoch: int | None = None) -> None:
        self.epoch = time.time_ns() // 1_000_000 if epoch is None else epoch
        self.version = 0
        self.last_refusal = ""
        self._context = zmq.Context()
        self._socket = open_router(self._context, address, insecure=insecure)
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._peers: dict[int, _Peer] = {}
        self._lock = threading.Lock()
        self._frames: list[bytes | memoryview] = []
        self._waker = Waker()
        self._stopping = False
        self._thread = threading.Thread(target=self._listen, name="weight-publisher", daemon=True)
        self._thread.start()

    def __enter__(self) -> WeightPublisher:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

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
            self._frames, self.version = frames, version
        self._waker.wake()
        return version

    @property
    def servers(self) -> int:
        """How many servers have connected."""
        return len(self._peers)

    def close(self) -> None:
        """Stop listening."""
        self._stopping = True
        self._waker.wake()
        self._thread.join(5)

    def _listen(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker, zmq.POLLIN)
        try:
            while not self._stopping:
                poller.poll(1000)
                self._waker.clear()
                self._receive_all()
                self._send_newest()
        finally:
            self._socket.close()
            remove_socket_file(self.address)
            self._context.destroy(linger=0)

    def _receive_all(self) -> None:
        while True:
            try:
                routing, head, *_ = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            header = None
            try:
                header = unpack_header(head)
                self._handle(routing, header, head)
            except ProtocolError as error:
                log.warning("from a server: %s", error)
                session, sequence = (header.session, header.sequence) if header else (0, 0)
                failure = pack_control(MessageType.ERROR, session, sequence, Failure(error.code, error.text))
                self._send(routing, [failure])

    def _handle(self, routing: bytes, header: Header, head: bytes) -> None:
        if header.type == MessageType.HELLO:
            hello = unpack_control(Hello, head)
            hello.check_version()
            held = (hello.epoch, header.sequence)
            peer = self._peers.setdefault(header.session, _Peer(routing, held))
            if peer.routing != routing:
                # The server's connection is a new one: what was on its way on the old one is lost.
                peer.routing, peer.sent = routing, None
            peer.held = held
            return
        known = [peer for peer in self._peers.values() if peer.routing == routing]
        if not known:
            raise ProtocolError(ErrorCode.EXPIRED, "no such server here: say HELLO")
        peer = known[0]
        if header.type == MessageType.TAKEN:
            peer.held, peer.sent = (header.session, header.sequence), None
        elif header.type == MessageType.ERROR:
            failure = unpack_control(Failure, head)
            self.last_refusal = failure.text
            peer.refused, peer.sent = (header.session, header.sequence), None
            log.error("a server refused version %d: %s", header.sequence, failure.text)
        else:
            raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"no messages of type {header.type} here")

    def _send_newest(self) -> None:
        with self._lock:
            frames, newest = self._frames, (self.epoch, self.version)
        if not frames:
            return
        now = time.monotonic()
        for peer in self._peers.values():
            late = peer.sent is not None and now - peer.sent_at > RESEND_AFTER_S
            if (peer.sent is None or late) and newest not in (peer.held, peer.refused):
                peer.sent, peer.sent_at = newest, now
                self._send(peer.routing, frames)

    def _send(self, routing: bytes, frames: list[bytes | memoryview]) -> None:
        try:
            self._socket.send_multipart([routing, *frames], zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            log.debug("a message was dropped: %s", error)
