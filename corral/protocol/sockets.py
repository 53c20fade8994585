"""ZeroMQ sockets as every room opens them: bounded queues, no lingering, clear words when an address fails."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
from urllib.parse import urlsplit

import zmq

from corral.protocol.limits import MAX_FRAME_BYTES, QUEUED_MESSAGES


class AddressError(ValueError):
    """An address that cannot be used: says which, why, and what to do."""


def open_dealer(context: zmq.Context, address: str) -> zmq.Socket:
    """A DEALER connected to `address`: the side that asks. Raises `AddressError`."""
    socket = _open(context, zmq.DEALER)
    # A lost server is looked for again quickly, yet without hammering.
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close()
        raise AddressError(f"cannot connect to {address!r}: {_reason(error)}") from error
    return socket


def open_router(context: zmq.Context, address: str, *, insecure: bool = False) -> zmq.Socket:
    """A ROUTER bound to `address`: the side that answers.

    Raises:
      AddressError: the address is taken, malformed, or open to other machines without `insecure`.
    """
    if not insecure and not is_private(address):
        raise AddressError(
            f"{address!r} can be reached from other machines, and there are no keys yet: anyone could act, read "
            "and push weights there. Use 127.0.0.1 or ipc://, or say --insecure on a network that you trust"
        )
    socket = _open(context, zmq.ROUTER)
    # A reply to a peer that has gone is dropped: the session's kept reply answers its resend.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        raise AddressError(f"cannot listen on {address!r}: {_reason(error)}") from error
    return socket


def is_private(address: str) -> bool:
    """Whether `address` is reachable from this machine alone."""
    if address.startswith(("ipc://", "inproc://")):
        return True
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def remove_socket_file(address: str) -> None:
    """Remove what an `ipc://` address leaves in the file system; nothing for other addresses."""
    path = address.removeprefix("ipc://")
    if path != address and not path.startswith("@"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _open(context: zmq.Context, kind: int) -> zmq.Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    # Notices a peer whose machine vanished; the sessions' leases are the authority all the same.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    return socket


def _reason(error: zmq.ZMQError) -> str:
    known = {
        zmq.EADDRINUSE: "the address is in use. Stop what listens there, or choose another port",
        zmq.EADDRNOTAVAIL: "this machine has no such address",
        zmq.EINVAL: "this is no address; write tcp://HOST:PORT or ipc://PATH",
        zmq.EPROTONOSUPPORT: "unknown transport; write tcp://HOST:PORT or ipc://PATH",
        errno.ENODEV: "this machine has no such interface; write tcp://IP:PORT",
    }
    return known.get(error.errno or 0, error.strerror or str(error))
