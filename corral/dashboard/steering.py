"""What the page changes: settings of a running server, commands to both sides, and the experiment file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import zmq

from corral.dashboard.sources import Source
from corral.launch.amendment import amend, check_amendable
from corral.launch.errors import UserError
from corral.launch.fleet import whole
from corral.protocol import change_settings
from corral.protocol.keys import Caller, Role, caller
from corral.protocol.sockets import open_dealer
from corral.protocol.status import fetch_status, send_command

ACTORS = 100
"""Actors that the table lists at most."""


def _towards(name: str) -> Role:
    return Role.LEARNER if name == "learner" else Role.SERVER


class Line:
    """The way to the servers and the learner of one source, with an operator's keys where there are any.

    Every call waits for its answers.

    Args:
      keys: the folder of this machine's keys; None where the source has none.

    Raises:
      AddressError: an address is malformed.
      KeysError: there is no operator's key in the folder, or it cannot be used.
    """

    def __init__(self, source: Source, keys: str | None) -> None:
        self._source = source
        # The sockets of `corral run` have no keys: they lie in a folder that only its user can enter.
        self._keys: dict[str, Caller | None] = {
            address: None if address.startswith("ipc://") else caller(keys, Role.OPERATOR, towards=_towards(name))
            for name, address in source.addresses.items()
        }
        for address in source.addresses.values():
            open_dealer(zmq.Context.instance(), address).close()  # better to fail now than in a thread

    def fetch(self, address: str, timeout_s: float) -> dict[str, Any] | None:
        """The figures of whoever answers at `address`, a server's table of actors among them."""
        return fetch_status(address, timeout_s, keys=self._keys.get(address), actors=ACTORS)

    def set(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings of every server, by their dotted keys; the figures after that, of several as of one.

        Raises:
          UserError, ProtocolError: it does not answer, or refuses, and why.
        """
        return self._told("server", lambda address, keys: change_settings(address, settings, keys=keys))

    def command(self, role: str, name: str) -> dict[str, Any]:
        """Tell "server" (every one) or "learner" to do something once; the rest as for `set`."""
        return self._told(role, lambda address, keys: send_command(address, name, keys=keys))

    def write(self, batching: Mapping[str, Any]) -> str:
        """Put settings into the experiment file, and say so.

        Args:
          batching: keys of `[server.batching]` -> values.

        Raises:
          UserError: there is no such file, or it cannot be changed.
          OSError: it cannot be written.
        """
        file = self._source.file
        if file is None:
            raise UserError("no experiment file is known here: name it with --file")
        check_amendable(file)
        amend(file, batching)
        return f"{', '.join(f'{key} = {value}' for key, value in batching.items())} written to {file}"

    def _told(self, role: str, tell: Callable[[str, Caller | None], dict[str, Any] | None]) -> dict[str, Any]:
        answers: dict[str, dict[str, Any]] = {}
        silent = []
        for name in self._source.servers if role == "server" else (role,):
            address = self._source.addresses[name]
            figures = tell(address, self._keys.get(address))
            if figures is None:
                silent.append(f"the {name} at {address} does not answer")
            else:
                answers[name] = figures
        if silent:
            raise UserError("; ".join(silent))
        return next(iter(answers.values())) if len(answers) == 1 else whole(answers)
