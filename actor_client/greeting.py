"""Joining a server: HELLO, and again while the server is not ready, full or away."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable

from actor_client.backoff import Backoff
from actor_client.line import LATER, Line, UnansweredError
from corral.protocol import ErrorCode, Hello, MessageType, ProtocolError, Welcome, pack_control, unpack_control

log = logging.getLogger(__name__)

_FRESH = 0.5
"""Part of a lease for which a WELCOME may have been under way, and nobody doubts it."""
RETRY_S = 0.05
"""Seconds until a server that is not ready is asked again."""


class Greeting:
    """One joining, from its first HELLO to its WELCOME; all its HELLOs have one nonce.

    Args:
      line: where to ask; nothing else may be under way there.
      address: the server's, for people.
      give_up_after_s: how long the server may refuse for the time being; 0 waits for ever.
      stopping: asked while waiting; True raises `UnansweredError`.

    Attributes:
      refused: why the server has not let the actor in, last; None where it has not answered.
    """

    def __init__(
        self, line: Line, hello: Hello, address: str, give_up_after_s: float, stopping: Callable[[], bool]
    ) -> None:
        self._line = line
        self._hello = hello
        self._address = address
        self._give_up_after_s = give_up_after_s
        self._stopping = stopping
        self._nonce = secrets.randbits(64)
        self._sequence = 0
        self._began = time.monotonic()
        self._backoff = Backoff()
        self._told = ""
        self._renewed = False
        self.refused: ErrorCode | None = None
        self._again_at = math.inf
        self._send()

    @property
    def due(self) -> float:
        """When HELLO is to be sent again: a reading of `time.monotonic`."""
        return min(self._again_at, self._line.due)

    def welcome(self) -> Welcome | None:
        """What the server grants; None where it has not answered yet. Never waits.

        Raises:
          ProtocolError: the server will not have this actor.
          UnansweredError: it was told to stop, or has waited for too long.
        """
        try:
            answer = self._line.answer()  # while it pauses, too: what comes late must not be left lying
        except ProtocolError as refusal:
            if refusal.code not in LATER:
                raise
            self._pause(refusal)
            return None
        if answer is not None:
            welcome = unpack_control(Welcome, answer[1])
            if self._is_stale(welcome):
                self._send()
                return None
            return welcome
        if self._again_at < math.inf:
            if self._stopping():
                raise UnansweredError("stopped while waiting for the server")
            if time.monotonic() >= self._again_at:
                self._send()
        return None

    def _send(self) -> None:
        self._again_at = math.inf
        self._asked = time.monotonic()
        # A number of its own for each try: the refusal of an earlier one may come late.
        self._sequence += 1
        hello = pack_control(MessageType.HELLO, self._nonce, self._sequence, self._hello)
        self._line.send([hello], self._nonce, self._sequence)

    def _is_stale(self, welcome: Welcome) -> bool:
        """Whether the session may have ended before anybody looked, since other environments took their time.

        The same HELLO once more renews it, or opens another. Only once: a way may be as long as a lease.
        """
        if self._renewed or time.monotonic() - self._asked < _FRESH * welcome.lease_s:
            return False
        self._renewed = True
        return True

    def _pause(self, refusal: ProtocolError) -> None:
        self.refused = refusal.code
        if refusal.text != self._told:
            log.info("waiting for %s: %s", self._address, refusal.text)
            self._told = refusal.text
        now = time.monotonic()
        if 0 < self._give_up_after_s <= now - self._began:
            raise UnansweredError(
                f"the server at {self._address} is not ready after {now - self._began:.1f} s: {refusal.text}"
            )
        self._again_at = now + (self._backoff.next_s() if refusal.code is ErrorCode.BUSY else RETRY_S)
