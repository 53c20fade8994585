"""Signs of life while an environment takes its time: a thread with a socket of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import zmq

from corral.protocol import MessageType, Work, open_dealer, pack_control
from corral.protocol.keys import Caller


class Heartbeat(threading.Thread):
    """Sends HEARTBEAT for one session every `every_s` seconds, until `stop`.

    Args:
      work: asked each time, on this thread: what the session has come to; None where nobody counts.
    """

    def __init__(
        self,
        context: zmq.SyncContext,
        address: str,
        token: int,
        *,
        every_s: float,
        keys: Caller | None = None,
        work: Callable[[], Work | None] = lambda: None,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._context = context
        self._address = address
        self._keys = keys
        self._token = token
        self._work = work
        self._every_s = every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        with open_dealer(self._context, self._address, self._keys) as socket:
            while not self._stopped.wait(self._every_s):
                # An ERROR may come back where the session has ended; the step line will hear of it too.
                while socket.poll(0):
                    socket.recv_multipart()
                if socket.poll(0, zmq.POLLOUT):
                    socket.send(pack_control(MessageType.HEARTBEAT, self._token, 0, self._work()))

    def stop(self) -> None:
        """End the thread and close its socket."""
        self._stopped.set()
        self.join(5)
