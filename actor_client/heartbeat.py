"""Signs of life while an environment takes its time: a thread with a socket of its own."""

from __future__ import annotations

import threading

import zmq

from corral.protocol import MessageType, open_dealer, pack_header
from corral.protocol.keys import Caller


class Heartbeat(threading.Thread):
    """Sends HEARTBEAT for one session every `every_s` seconds, until `stop`."""

    def __init__(
        self, context: zmq.Context, address: str, token: int, *, every_s: float, keys: Caller | None = None
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._context = context
        self._address = address
        self._keys = keys
        self._frame = pack_header(MessageType.HEARTBEAT, token, 0)
        self._every_s = every_s
        self._stopped = threading.Event()

    def run(self) -> None:
        with open_dealer(self._context, self._address, self._keys) as socket:
            while not self._stopped.wait(self._every_s):
                # An ERROR may come back where the session has ended; the step line will hear of it too.
                while socket.poll(0):
                    socket.recv_multipart()
                if socket.poll(0, zmq.POLLOUT):
                    socket.send(self._frame)

    def stop(self) -> None:
        """End the thread and close its socket."""
        self._stopped.set()
        self.join(5)
