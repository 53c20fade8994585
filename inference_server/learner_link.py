"""The two lines to the learner: unrolls out, weights in. A thread of its own owns both sockets."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from corral.protocol import (
    ErrorCode,
    Failure,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    Spec,
    Welcome,
    open_dealer,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.keys import Caller
from corral.protocol.limits import MAX_COUNT, QUEUED_PARCELS
from corral.protocol.sockets import head_of, receive_parts
from corral.protocol.sparing_log import SparingLog
from corral.protocol.tensors import to_frame
from corral.protocol.waker import Waker
from corral.protocol.weights import unpack_weights
from corral.telemetry.tracer import span
from inference_server.outbox import Outbox, Parcel

log = logging.getLogger(__name__)

GREET_EVERY_S = 0.5
"""Seconds between greetings: until the learner answers, and on the weights line as a sign of what we hold."""
RESEND_AFTER_S = (0.5, 8.0)
"""Seconds of silence until parcels are sent again: at first, and at most, doubled each time. A learner that takes
long over a batch must not be buried under copies."""
FLIP_TIMEOUT_S = 10.0
TURN_MESSAGES = 256
"""Messages of one line that are handled until there is time for all else: somebody may send for ever."""
GATHER_S = 0.005
"""Least seconds between two parcels: with every batch some unrolls are complete, and a parcel for each would cost
the serving thread more than the batch itself, since the two threads share one interpreter."""


class WeightHolder(Protocol):
    """Whoever acts with the weights; an `Engine` is one."""

    epoch: int
    version: int

    @property
    def weight_spec(self) -> Spec: ...

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool: ...


class LearnerLink(threading.Thread):
    """Delivers parcels until they are accepted, and takes weights up once they are verified.

    Args:
      unrolls_address: where the learner takes unrolls; None for whoever has none to deliver.
      weights_address: where it gives weights out.
      spec: the unroll's parts, as `unroll_spec` gives them.
      engine, outbox: shared with the serving thread.
      keys: a server's, where the learner has keys.
      wake_server: makes the serving thread look for news.

    Attributes:
      identity: the random number by which the learner knows whose parcels it gets.
      welcomed: whether the learner that is there now has welcomed us, and neither left nor forgotten us since.
      delivers: whether there are unrolls to deliver.
      parted: whether the last word of the learner was its goodbye: what waits for it waits for another one.
    """

    def __init__(
        self,
        unrolls_address: str | None,
        weights_address: str,
        spec: Mapping[str, Spec],
        length: int,
        engine: WeightHolder,
        outbox: Outbox,
        wake_server: Callable[[], None],
        keys: Caller | None = None,
    ) -> None:
        super().__init__(name="learner-link", daemon=True)
        self.waker = Waker()
        self.identity = secrets.randbits(64)
        self.weights_address = weights_address
        self.delivers = unrolls_address is not None
        self.welcomed = False
        self.parted = False
        self.refused = 0
        self.failure = ""
        # A context of its own: libzmq looks names up in the context's I/O thread, and a learner's name that nobody
        # knows at the moment would make the actors wait for seconds.
        self._context = zmq.Context()
        self._keys = keys
        self._unrolls = self._open(unrolls_address) if unrolls_address is not None else None
        self._weights = self._open(weights_address)
        # A learner that has gone says nothing: that its connection broke is all there is to see.
        self._breaks = self._unrolls and self._unrolls.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._spec = {part: spec_to_wire(leaves) for part, leaves in spec.items()} | {"length": length}
        self._engine = engine
        self._outbox = outbox
        self._wake_server = wake_server
        self._complaints = SparingLog(log)
        self._stopping = False
        self._noticed = False
        self._next_parcel = 0.0
        self._next_greeting = 0.0
        self._resend_at = 0.0
        self._resend_after_s = RESEND_AFTER_S[0]

    def run(self) -> None:
        poller = zmq.Poller()
        for source in (self._unrolls, self._breaks, self._weights, self.waker):
            if source is not None:
                poller.register(source, zmq.POLLIN)
        try:
            while not self._stopping:
                ready = self._nap(poller)
                self.waker.clear()
                broken = self._breaks is not None and self._breaks in ready
                if self._unrolls is not None and (self._unrolls in ready or broken):
                    self._receive(self._unrolls, self._on_unrolls_line)
                if self._breaks is not None and broken:
                    self._on_break(self._breaks)  # behind the last words, a goodbye among them
                if self._weights in ready:
                    self._receive(self._weights, self._on_weights_line)
                self._greet()
                self._deliver()
        finally:
            self._context.destroy(linger=0)
            self.waker.close()

    def notice(self) -> None:
        """Unrolls wait in the outbox. For the serving thread, after every batch: costs nothing while the last
        notice has not been acted on."""
        if not self._noticed or self._outbox.blocked:
            self._noticed = True
            self.waker.wake()

    def stop(self) -> None:
        """End the thread; what the learner has not accepted by then is lost."""
        self._stopping = True
        self.waker.wake()

    def _open(self, address: str) -> zmq.SyncSocket:
        # A short queue: every resend copies, and a learner that reads nothing must not fill this memory.
        return open_dealer(self._context, address, self._keys, queued_out=QUEUED_PARCELS)

    @span("wait")
    def _nap(self, poller: zmq.Poller) -> dict[Any, int]:
        return dict(poller.poll(self._longest_nap_ms()))

    def _greet(self) -> None:
        now = time.monotonic()
        if now < self._next_greeting:
            return
        self._next_greeting = now + GREET_EVERY_S
        if self._unrolls is not None and not self.welcomed:
            # The epoch first: where it is new, so is the sequence.
            hello = Hello("server", observation=self._spec, epoch=self._outbox.epoch)
            self._send(self._unrolls, [self._control(MessageType.HELLO, self._outbox.first_sequence, hello)])
        # On the weights line the greeting says what we hold; the learner answers it with what is newer.
        held = Hello("server", epoch=self._engine.epoch)
        self._send(self._weights, [self._control(MessageType.HELLO, self._engine.version, held)])

    def _deliver(self) -> None:
        if not self.welcomed:
            return
        now = time.monotonic()
        parcels = self._outbox.unaccepted() if now >= self._resend_at else []
        if parcels:
            self._resend_after_s = min(2 * self._resend_after_s, RESEND_AFTER_S[1])
            self._resend_at = now + self._resend_after_s
        if self._may_send(now):
            self._noticed = False
            if fresh := self._outbox.collect():
                # The oldest that is not accepted decides when all are sent again: fresh ones do not put that off.
                if self._outbox.first_sequence == fresh.sequence:
                    self._resend_at = now + self._resend_after_s
                parcels.append(fresh)
                self._next_parcel = now + GATHER_S
        for parcel in parcels:
            self._send_parcel(parcel)

    def _may_send(self, now: float) -> bool:
        # Whoever is blocked waits for just this.
        return now >= self._next_parcel or self._outbox.blocked

    def _longest_nap_ms(self) -> int:
        if not self._noticed or not self.welcomed:
            return 100
        return max(1, math.ceil((self._next_parcel - time.monotonic()) * 1e3))

    @span("send unrolls", lambda _, link, parcel: {"parcel": parcel.sequence, "unrolls": parcel.manifest.unrolls})
    def _send_parcel(self, parcel: Parcel) -> None:
        assert self._unrolls is not None
        head = self._control(MessageType.UNROLLS, parcel.sequence, parcel.manifest)
        self._send(self._unrolls, [head, *map(to_frame, parcel.leaves.values())])

    def _control(self, type_: MessageType, sequence: int, body: object) -> bytes:
        return pack_control(type_, self.identity, sequence, body)

    def _send(self, socket: zmq.SyncSocket, frames: list[Any]) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            log.debug("the learner's queue is full: will send again")

    @span("receive")
    def _receive(self, socket: zmq.SyncSocket, handle: Callable[[Header, list[memoryview], bytes], None]) -> None:
        for _ in range(TURN_MESSAGES):
            frames = receive_parts(socket)
            if frames is None or self._stopping:
                return
            try:
                head = head_of(frames[0])
                handle(unpack_header(head), [frame.buffer for frame in frames], head)
            except ProtocolError as error:
                # A learner that refuses us is asked again twice a second: that is one line in the log.
                if error.text != self.failure:
                    self._complaints.say(logging.WARNING, "from the learner: %s", error)
                self.failure = error.text
            except Exception as error:
                # Without this thread the server would go on with its last weights for ever, and look well.
                self.failure = f"a defect; see the server's log: {error!r}"
                log.exception("a message of the learner failed")

    def _on_unrolls_line(self, header: Header, frames: list[memoryview], head: bytes) -> None:
        if header.session != self.identity:
            raise ProtocolError(ErrorCode.MALFORMED, f"a message to {header.session:#x}, not to this server")
        if header.type == MessageType.ACCEPTED:
            if not self.welcomed:
                # A late word of the learner before: the one that we greet may need what that one accepted.
                return
            self._resend_after_s = RESEND_AFTER_S[0]
            self._resend_at = time.monotonic() + self._resend_after_s
            if self._outbox.accept(header.sequence):
                self._wake_server()
        elif header.type == MessageType.WELCOME:
            welcome = unpack_control(Welcome, head)
            if not self.welcomed:  # every greeting that waited for the learner is answered
                text = "the learner has welcomed us: %d unrolls may wait for it"
                self._complaints.say(logging.INFO, text, welcome.window)
            self._outbox.window = welcome.window
            self._outbox.accept(welcome.cursor)
            self.welcomed, self.parted = True, False
            self.failure = ""
            self._resend_at = 0.0
            self._wake_server()
        elif header.type == MessageType.BYE:
            log.info("the learner has left")
            self.welcomed, self.parted = False, True
            self._wake_server()
        elif header.type == MessageType.ERROR:
            failure = unpack_control(Failure, head).error()
            if failure.code is ErrorCode.NOT_READY:
                return  # it wants its own weights to act first
            if failure.code is not ErrorCode.EXPIRED:
                raise failure
            if self.welcomed:
                # A learner that does not know us is a new one: greet it at once; everything unaccepted follows.
                self._greet_anew()

    def _on_break(self, breaks: zmq.SyncSocket) -> None:
        """The unrolls line is broken: whoever answers there next has to welcome us first."""
        while breaks.poll(0):
            recv_monitor_message(breaks)
        if self.welcomed:
            blocks = self.delivers and self._outbox.when_full == "block"
            until = f", until {self._outbox.window} unrolls wait for it: then actors wait, too" if blocks else ""
            log.warning("the learner has gone, or cannot be reached; its last policy goes on acting%s", until)
            self._greet_anew()

    def _greet_anew(self) -> None:
        self.welcomed = False
        self._next_greeting = 0.0

    def _on_weights_line(self, header: Header, frames: list[memoryview], head: bytes) -> None:
        if header.type == MessageType.ERROR:
            raise unpack_control(Failure, head).error()
        if header.type != MessageType.WEIGHTS:
            return
        epoch, version = header.session, header.sequence
        try:
            if not self._take_up(header, frames):
                # No fault of the weights: unanswered, they are sent again.
                log.warning("version %d was not taken up in time", version)
                return
            answer = pack_header(MessageType.TAKEN, epoch, version)
        except ProtocolError as error:
            self.refused += 1
            text = "weights of version %d were refused: %s"
            self._complaints.say(logging.ERROR, text, version, error.text)
            answer = pack_control(MessageType.ERROR, epoch, version, Failure(error.code, error.text))
        self._send(self._weights, [answer])

    @span("take up weights", lambda taken, link, header, frames: {"version": header.sequence, "taken": taken})
    def _take_up(self, header: Header, frames: list[memoryview]) -> bool:
        """Whether the version acts now. Raises `ProtocolError` (WEIGHTS)."""
        offered, held = (header.session, header.sequence), (self._engine.epoch, self._engine.version)
        if offered == held:
            return True
        if max(offered) > MAX_COUNT:
            raise ProtocolError(
                ErrorCode.WEIGHTS, f"epochs and versions are at most {MAX_COUNT}, not {offered[0]} and {offered[1]}"
            )
        if offered < held:
            raise ProtocolError(
                ErrorCode.WEIGHTS,
                f"epoch {offered[0]} version {offered[1]} is older than epoch {held[0]} version {held[1]}, "
                "which acts here",
            )
        weights = unpack_weights(header, frames, self._engine.weight_spec)
        return self._engine.offer(*offered, weights, self._wake_server, FLIP_TIMEOUT_S)
