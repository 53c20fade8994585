"""How servers and learner do, asked a few times a second on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from corral.launch.fleet import whole

Fetch: TypeAlias = Callable[[str, float], "dict[str, Any] | None"]
"""`corral.protocol.status.fetch_status`: an address and seconds to wait, to figures or None."""

log = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[str, "dict[str, Any] | None"], None]
"""A name, and what it answered; None where it did not."""

PERIOD_S = 0.25


class StatusPoller:
    """The newest figures of each address.

    Args:
      addresses: name -> where it answers.
      servers: the names of several servers, which are told of as one, "server", besides.
      fetch: how to ask; None asks over the wire, without keys.
      period_s: seconds between two rounds, and for which an answer is waited for.
      listener: told of every answer and every silence, on the poller's thread; of several servers as of one.

    Attributes:
      figures: name -> figures; no name before its first answer, and none for good where it never answers.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        fetch: Fetch | None = None,
        *,
        period_s: float = PERIOD_S,
        listener: Listener | None = None,
        servers: Collection[str] = (),
    ) -> None:
        self.figures: dict[str, dict[str, Any]] = {}
        self._addresses = dict(addresses)
        self._servers = tuple(servers)
        self._silent: set[str] = set()
        self._fetch = fetch
        self._period_s = period_s
        self._listener = listener
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; returns soon."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * self._period_s + 1.0)

    def move(self, addresses: Mapping[str, str]) -> None:
        """Ask there from now on."""
        self._addresses = dict(addresses)

    def ask(self, name: str, timeout_s: float | None = None) -> dict[str, Any] | None:
        """Ask one address now, on the caller's thread; silence keeps the older figures."""
        if self._fetch is None:
            from corral.protocol.status import fetch_status  # zmq and numpy: not before the processes start

            self._fetch = fetch_status
        figures = self._fetch(self._addresses[name], self._period_s if timeout_s is None else timeout_s)
        if figures is not None:
            self.figures[name] = figures
            self._silent.discard(name)
        else:
            self._silent.add(name)
        if name in self._servers:
            known = {server: self.figures[server] for server in self._servers if server in self.figures}
            if known:
                self.figures["server"] = whole(known, self._silent)
        return figures

    def _run(self) -> None:
        while not self._stop.is_set():
            for name in list(self._addresses):
                try:
                    figures = self.ask(name)
                except ValueError as error:  # an address that can be listened on, and not connected to
                    log.warning("the %s is not asked: %s", name, error)
                    del self._addresses[name]
                    continue
                if self._listener is not None and name not in self._servers:
                    self._listener(name, figures)
            if self._listener is not None and self._servers:
                awake = set(self._servers) - self._silent
                self._listener("server", self.figures.get("server") if awake else None)
            self._stop.wait(self._period_s)
