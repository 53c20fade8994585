"""Who may come in, and what each may do there: CURVE keys in a folder (docs/security.md).

A folder holds a pair for the server and one for the learner, and one for each actor and each operator:

    server.key   server.key_secret    actors/NAME.key     actors/NAME.key_secret
    learner.key  learner.key_secret   operators/NAME.key  operators/NAME.key_secret

Whoever listens admits those whose public half lies in its folder, and looks there again while it runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zmq

from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.header import MessageType

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

PUBLIC, SECRET = ".key", ".key_secret"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a key is for."""

    ACTOR = "actor"
    OPERATOR = "operator"
    SERVER = "server"
    LEARNER = "learner"


PEOPLE = {Role.ACTOR: "actors", Role.OPERATOR: "operators"}
"""The roles of which there are many -> the folder of their keys."""

_FROM_ACTORS = (MessageType.HELLO, MessageType.STEP, MessageType.INFER, MessageType.HEARTBEAT, MessageType.BYE)
_FROM_SERVERS = (MessageType.HELLO, MessageType.UNROLLS, MessageType.TAKEN, MessageType.ERROR)

MAY: Mapping[Role, Mapping[Role, frozenset[int]]] = {
    Role.SERVER: {
        Role.ACTOR: frozenset(_FROM_ACTORS),
        Role.OPERATOR: frozenset({MessageType.STATUS, MessageType.SET, MessageType.COMMAND}),
        Role.LEARNER: frozenset({MessageType.STATUS}),
    },
    Role.LEARNER: {
        Role.SERVER: frozenset(_FROM_SERVERS),
        Role.OPERATOR: frozenset({MessageType.STATUS, MessageType.COMMAND}),
    },
}
"""Who listens -> whom it lets in -> the types of messages that those may send."""


class KeysError(ValueError):
    """Keys that cannot be used: says which file, what is wrong, and what to do."""


class Caller(NamedTuple):
    """What a socket needs that connects: its own pair, and the public half of whom it will trust there."""

    public: bytes
    secret: bytes
    other: bytes

    def apply(self, socket: zmq.SyncSocket) -> None:
        """Give them to a socket that has not connected yet."""
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self


def caller(folder: Path | str | None, role: Role, towards: Role) -> Caller | None:
    """The keys of `role`, to talk to `towards`; None where there is no folder.

    Of several actors' or operators' secret keys the first by name is taken.

    Raises:
      KeysError: a key is missing, malformed, or can be read by others.
    """
    if not folder:
        return None
    path = Path(folder)
    check_folder(path)
    if role in PEOPLE:
        own = next(iter(sorted((path / PEOPLE[role]).glob(f"*{SECRET}"))), None)
        if own is None:
            raise KeysError(
                f"{path / PEOPLE[role]} holds no {role}'s secret key: corral keys add {path} {role} NAME makes one"
            )
    else:
        own = path / f"{role}{SECRET}"
    public, secret = read_secret(own)
    return Caller(public, secret, read_public(path / f"{towards}{PUBLIC}"))


class Gate:
    """Whom a listening socket lets in, and as what; looked up anew while it runs, so that keys come and go.

    Args:
      folder: of the keys.
      owner: who listens: SERVER or LEARNER.

    Attributes:
      refused: connections that were turned away, and messages of keys that have been revoked since.

    Raises:
      KeysError: the owner's secret key is missing, malformed or can be read by others.
    """

    def __init__(self, folder: Path | str, owner: Role) -> None:
        self._folder = Path(folder)
        self._owner = owner
        check_folder(self._folder)
        _, self._secret = read_secret(self._folder / f"{owner}{SECRET}")
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._admitted = self._read()
        self._authenticator: ThreadAuthenticator | None = None
        self._monitor: zmq.SyncSocket | None = None
        self.refused = 0

    def guard(self, socket: zmq.SyncSocket) -> None:
        """Stand before a socket that has not been bound yet. Its context can have one gate."""
        # Not before there are keys: it brings asyncio.
        from zmq.auth.thread import ThreadAuthenticator

        self._authenticator = ThreadAuthenticator(socket.context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", self)
        socket.curve_secretkey = self._secret
        socket.curve_server = True
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key is admitted; asked by the authenticator's thread at each handshake (RFC 27, ZAP)."""
        if key.decode("ascii") in self._admitted:
            return True
        self._admitted = self._read()  # it may have come just now
        return key.decode("ascii") in self._admitted

    def check(self, key: str, type_: int) -> bool:
        """Whether a message may be looked at; not if its key has been revoked, which is counted.

        Raises:
          ProtocolError: FORBIDDEN where a key of this role may not send such a message.
        """
        role = self._admitted.get(key)
        if role is None:
            self.refused += 1
            return False
        if type_ not in MAY[self._owner][role]:
            raise ProtocolError(ErrorCode.FORBIDDEN, f"the {role} key may not send {_named(type_)} here")
        return True

    def look_again(self) -> frozenset[str]:
        """Read the folder anew, count who was turned away, and return the keys that are admitted no more."""
        before = self._admitted
        self._admitted = self._read()
        if self._monitor is not None:
            with contextlib.suppress(zmq.Again):
                while True:
                    self._monitor.recv_multipart(zmq.NOBLOCK)
                    self.refused += 1
        return frozenset(before.keys() - self._admitted.keys())

    def close(self) -> None:
        """End the authenticator. Before the socket is closed."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _read(self) -> dict[str, Role]:
        """Every admitted public key -> its role. What cannot be read lets nobody in."""
        admitted = {}
        for role in MAY[self._owner]:
            for path in public_files(self._folder, role):
                with contextlib.suppress(KeysError, OSError):
                    admitted[self._key_in(path)] = role
        return admitted

    def _key_in(self, path: Path) -> str:
        """The public key in a file, which is read again only where it has changed: there may be thousands."""
        status = path.stat()
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            known = self._known[path] = (mark, read_public(path).decode("ascii"))
        return known[1]


def _named(type_: int) -> str:
    try:
        return MessageType(type_).name
    except ValueError:
        return f"type {type_}"


def check_folder(folder: Path) -> None:
    """Raises `KeysError` where no keys can be, because there is no such folder."""
    if not folder.is_dir():
        raise KeysError(
            f"{folder}: no such folder of keys. corral keys new {folder} makes one, on the server's machine; "
            "others get theirs from there (corral keys bundle)"
        )


def make_pair(folder: Path, role: Role, name: str = "") -> Path:
    """Make a pair of keys, the secret half readable by its owner alone, and return the secret half's file.

    Args:
      name: of an actor or operator.

    Raises:
      KeysError: there is such a pair already, or the name cannot be a file's.
    """
    from zmq.auth import create_certificates

    if role in PEOPLE and not _NAME.fullmatch(name):
        raise KeysError(f"{name!r} is no name for a key: letters, digits, points, lines; at most 64")
    place = folder / PEOPLE[role] if role in PEOPLE else folder
    stem = name if role in PEOPLE else str(role)
    place.mkdir(parents=True, exist_ok=True)
    for ending in (PUBLIC, SECRET):
        if (place / f"{stem}{ending}").exists():
            raise KeysError(f"{place / stem}{ending} is there already: choose another name, or revoke it first")
    before = os.umask(0o077)
    try:
        create_certificates(place, stem)
    finally:
        os.umask(before)
    (place / f"{stem}{PUBLIC}").chmod(0o644)
    return place / f"{stem}{SECRET}"


def public_files(folder: Path, role: Role) -> Iterable[Path]:
    """The public halves of a role, by name."""
    return sorted((folder / PEOPLE[role]).glob(f"*{PUBLIC}")) if role in PEOPLE else [folder / f"{role}{PUBLIC}"]


def read_public(path: Path) -> bytes:
    """The public key in a file, as 40 characters of Z85. Raises `KeysError`."""
    public, _ = _read_file(path)
    return public


def read_secret(path: Path) -> tuple[bytes, bytes]:
    """Public and secret key of a file, as 40 characters of Z85 each.

    Raises:
      KeysError: there is none, it is malformed, or others than its owner may read it.
    """
    public, secret = _read_file(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeysError(f"{path} can be read by others, and so is no secret: chmod 600 {path}")
    if secret is None:
        raise KeysError(f"{path} holds no secret key")
    return public, secret


def _read_file(path: Path) -> tuple[bytes, bytes | None]:
    from zmq.auth import load_certificate

    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError) as error:
        known = "" if path.exists() else ": corral keys new makes a folder of keys"
        raise KeysError(f"{path} cannot be used as a key ({error}){known}") from error
    for key in (public, secret):
        if key is not None and len(key) != 40:
            raise KeysError(f"{path} holds a key of {len(key)} characters; a key has 40")
    return public, secret


def remove_pair(folder: Path, role: Role, name: str) -> None:
    """Remove an actor's or operator's key, so that it is admitted no more. Raises `KeysError` for a wrong name."""
    check_folder(folder)
    place = folder / PEOPLE[role]
    public = place / f"{name}{PUBLIC}"
    if not _NAME.fullmatch(name) or not public.exists():
        raise KeysError(f"{place} has no key {name!r}: corral keys list {folder} shows those that are there")
    public.unlink()
    (place / f"{name}{SECRET}").unlink(missing_ok=True)


def copy_bundle(folder: Path, role: Role, name: str, target: Path) -> list[Path]:
    """Copy into a new or empty folder what the machine of one role needs, and return the copies.

    Raises:
      KeysError: something lies in the target, or a key that is needed is missing.
    """
    check_folder(folder)
    if target.exists() and any(target.iterdir()):
        raise KeysError(f"{target} is there already: name a new folder")
    if role in PEOPLE:
        if not _NAME.fullmatch(name):
            raise KeysError(f"{name!r} is no name for a key")
        needed = [folder / PEOPLE[role] / f"{name}{SECRET}", folder / f"{Role.SERVER}{PUBLIC}"]
        needed += [folder / f"{Role.LEARNER}{PUBLIC}"] if role is Role.OPERATOR else []
    else:
        needed = [folder / f"{role}{SECRET}", folder / f"{Role.SERVER}{PUBLIC}", folder / f"{Role.LEARNER}{PUBLIC}"]
        needed += [path for admitted in MAY[role] for path in public_files(folder, admitted)]
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise KeysError(f"{missing[0]} is missing: corral keys list {folder} shows what is there")
    copies = []
    for path in dict.fromkeys(needed):
        copy = target / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy.touch(mode=0o600)
        copy.write_bytes(path.read_bytes())
        copies.append(copy)
    return copies
