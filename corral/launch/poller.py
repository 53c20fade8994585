"""How server and learner do, asked a few times a second on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Fetch: TypeAlias = Callable[[str, float], "dict[str, Any] | None"]
"""`corral.protocol.status.fetch_status`: an address and seconds to wait, to figures or None."""

log = logging.getLogger(__name__)

PERIOD_S = 0.25


class StatusPoller:
    """The newest figures of each address.

    Attributes:
      figures: role -> figures; no role before its first answer, and none for good where it never answers.
    """

    def __init__(self, addresses: Mapping[str, str], fetch: Fetch | None = None) -> None:
        self.figures: dict[str, dict[str, Any]] = {}
        self._addresses = dict(addresses)
        self._fetch = fetch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; returns soon."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * PERIOD_S + 1.0)

    def ask(self, role: str, timeout_s: float = PERIOD_S) -> None:
        """Ask one address now, on the caller's thread; silence keeps the older figures."""
        if self._fetch is None:
            from corral.protocol.status import fetch_status  # zmq and numpy: not before the processes start

            self._fetch = fetch_status
        figures = self._fetch(self._addresses[role], timeout_s)
        if figures is not None:
            self.figures[role] = figures

    def _run(self) -> None:
        while not self._stop.is_set():
            for role in list(self._addresses):
                try:
                    self.ask(role)
                except ValueError as error:  # an address that can be listened on, and not connected to
                    log.warning("the %s is not asked: %s", role, error)
                    del self._addresses[role]
            self._stop.wait(PERIOD_S)
