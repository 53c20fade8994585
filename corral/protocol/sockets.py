"""ZeroMQ sockets as every room opens them: bounded queues, no lingering, clear words when an address fails."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket as unix
from urllib.parse import urlsplit

import zmq

from corral.protocol.keys import Caller, Gate
from corral.protocol.limits import MAX_CONTROL_BYTES, MAX_FRAME_BYTES, MAX_PARTS, QUEUED_MESSAGES

UNHEARD_MS = 8000
"""Milliseconds for which sent bytes may lack TCP's acknowledgement, until a connection is given up (Linux)."""
CONNECT_MS = 3000
"""Milliseconds for which one attempt to connect may take."""


_listening: set[str] = set()
"""The `ipc://` addresses that this process listens on."""


class AddressError(ValueError):
    """An address that cannot be used: says which, why, and what to do."""


def open_dealer(
    context: zmq.SyncContext, address: str, keys: Caller | None = None, *, queued_out: int = QUEUED_MESSAGES
) -> zmq.SyncSocket:
    """A DEALER connected to `address`, with keys if there are any: the side that asks.

    Args:
      queued_out: messages that it holds until the other side reads; a `send` beyond blocks, or raises `zmq.Again`.

    Raises:
      AddressError: the address is malformed.
    """
    _check_form(address)
    socket = _open(context, zmq.DEALER, queued_out=queued_out)
    if keys is not None:
        keys.apply(socket)
    # A lost server is looked for again quickly, yet without hammering.
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close()
        raise AddressError(f"cannot connect to {address!r}: {_reason(error)}") from error
    return socket


def open_router(
    context: zmq.SyncContext,
    address: str,
    *,
    insecure: bool = False,
    gate: Gate | None = None,
    queued_in: int = QUEUED_MESSAGES,
    queued_out: int = QUEUED_MESSAGES,
) -> zmq.SyncSocket:
    """A ROUTER bound to `address`, behind a gate if there is one: the side that answers.

    Args:
      queued_in: messages of one peer that it holds unread; what that peer sends beyond waits on its own side.
      queued_out: messages that it holds for a peer which reads none; those beyond are dropped.

    Raises:
      AddressError: the address is taken, malformed, or open to other machines without gate or `insecure`.
    """
    _check_form(address)
    if gate is None and not insecure and not is_private(address):
        raise AddressError(
            f"{address!r} can be reached from other machines, and there are no keys: anyone could act, read and "
            "push weights there. Make keys (corral keys new keys, then --keys keys), use 127.0.0.1 or ipc://, or "
            "say --insecure on a network that you trust"
        )
    if _is_listened_on(address):
        raise AddressError(f"cannot listen on {address!r}: {_KNOWN_REASONS[zmq.EADDRINUSE]}")
    socket = _open(context, zmq.ROUTER, queued_in=queued_in, queued_out=queued_out)
    # A reply to a peer that has gone is dropped: the session's kept reply answers its resend.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
    if gate is not None:
        gate.guard(socket)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if gate is not None:
            gate.close()
        socket.close()
        raise AddressError(f"cannot listen on {address!r}: {_reason(error)}") from error
    if address.startswith("ipc://"):
        _listening.add(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    return socket


def receive_parts(socket: zmq.SyncSocket) -> list[zmq.Frame] | None:
    """The frames of the next message, or None where none waits. Those behind the first `MAX_PARTS` are skipped."""
    try:
        part = socket.recv(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None
    parts = [part]
    # ZeroMQ hands over a message whole or not at all, so that none of these waits.
    while part.more:
        part = socket.recv(copy=False)
        if len(parts) < MAX_PARTS:
            parts.append(part)
    return parts


def head_of(frame: zmq.Frame) -> bytes:
    """The bytes of a message's first frame; of one that is too long to be any, no more than tells so."""
    return frame.bytes if len(frame) <= MAX_CONTROL_BYTES else bytes(frame.buffer[: MAX_CONTROL_BYTES + 1])


def is_private(address: str) -> bool:
    """Whether `address` is reachable from this machine alone."""
    if address.startswith(("ipc://", "inproc://")):
        return True
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own, by name or by number."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def remove_socket_file(address: str) -> None:
    """Remove what an `ipc://` address leaves in the file system; nothing for other addresses."""
    _listening.discard(address)
    path = address.removeprefix("ipc://")
    if path != address and not path.startswith("@"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def remove_socket_files() -> None:
    """Remove the files of all `ipc://` addresses that this process listens on: for one that ends where it stands.

    Takes no lock, so that a signal handler may call it.
    """
    for address in tuple(_listening):
        remove_socket_file(address)


def _open(
    context: zmq.SyncContext, kind: int, *, queued_in: int = QUEUED_MESSAGES, queued_out: int = QUEUED_MESSAGES
) -> zmq.SyncSocket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, queued_out)
    socket.setsockopt(zmq.RCVHWM, queued_in)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    # Notices a peer whose machine vanished; the sessions' leases are the authority all the same.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    # TCP tries a broken line at growing intervals, for minutes: a new connection finds a mended one sooner.
    socket.setsockopt(zmq.TCP_MAXRT, UNHEARD_MS)
    return socket


_FORM = "write tcp://HOST:PORT or ipc://PATH"

_KNOWN_REASONS = {
    zmq.EADDRINUSE: "the address is in use. Stop what listens there, or choose another one",
    zmq.EADDRNOTAVAIL: "this machine has no such address",
    zmq.EINVAL: f"this is no address; {_FORM}",
    zmq.EPROTONOSUPPORT: f"unknown transport; {_FORM}",
    zmq.ENOCOMPATPROTO: f"unknown transport; {_FORM}",
    errno.ENODEV: "this machine has no such interface; write tcp://IP:PORT",
    errno.ENOENT: "there is no such folder; make it first, or choose another path",
    errno.EACCES: "this user may not do so; choose another port or path",
    errno.ENAMETOOLONG: "the path is too long for a socket; choose a shorter one",
}


def _reason(error: zmq.ZMQError) -> str:
    return _KNOWN_REASONS.get(error.errno or 0, error.strerror or str(error))


def _check_form(address: str) -> None:
    """Raises `AddressError` for an address that libzmq would take for another: it counts ports modulo 65536."""
    transport, separator, rest = address.partition("://")
    if not separator or not rest:
        raise AddressError(f"{address!r} is no address; {_FORM}")
    if transport != "tcp":
        return
    host, _, port = rest.rpartition(":")
    if not host or host.startswith("[") != host.endswith("]"):
        raise AddressError(f"{address!r} is no address; {_FORM}")
    if port != "*" and not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise AddressError(f"{address!r} has no port: {port!r} is not a number from 0 to 65535")


def _is_listened_on(address: str) -> bool:
    """Whether a process listens on an `ipc://` address: libzmq would take it away from that one without a word."""
    path = address.removeprefix("ipc://")
    if path == address or path.startswith("@") or path == "*":
        return False
    with unix.socket(unix.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its queue of connections is full
        except OSError:
            return False
    return True
