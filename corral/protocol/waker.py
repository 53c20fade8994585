"""Waking a thread that waits on sockets, from another thread."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """A descriptor that becomes readable when `wake` is called; works wherever sockets do."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._receiver.fileno()

    def wake(self) -> None:
        """Make the descriptor readable. From any thread or signal handler; many calls count as one."""
        # A full buffer means that the other side has been woken already; a closed one, that it has left.
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")

    def clear(self) -> None:
        """Make the descriptor quiet again. Look for work after this, not before."""
        with contextlib.suppress(BlockingIOError):
            while self._receiver.recv(4096):
                pass

    def close(self) -> None:
        """Close both ends."""
        self._receiver.close()
        self._sender.close()
