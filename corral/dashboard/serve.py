"""Serving the page: from one process, on one port, until it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from corral.dashboard.gate import Gate
from corral.dashboard.page import lay_out, say_farewell
from corral.dashboard.sources import Source
from corral.dashboard.steering import Line
from corral.dashboard.watch import Watch
from corral.launch.errors import UserError
from corral.launch.stopping import StopRequest
from corral.protocol.sockets import is_loopback

PORT = 5580
"""The port, or, where it is taken, the first free one of the twenty from there."""
_TRIES = 20
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_FAREWELL_S = 0.3
"""Seconds for the last words to reach every browser."""


def serve(
    sources: Sequence[Source],
    stop: StopRequest,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    keys: str | None = None,
    token: str | None = None,
    on_start: Callable[[str], None],
) -> None:
    """Serve the page until `stop` is asked.

    Args:
      host: the address to listen on. Any but loopback needs the token for reading too.
      port: None takes `PORT`, or one near it.
      keys: the folder with an operator's key, where the sources have keys.
      token: what steers; None makes one.
      on_start: told the page's address, token included, once it can be opened.

    Raises:
      UserError: nothing can be served there.
      AddressError, KeysError: an address or the keys cannot be used.
    """
    lines = [Line(source, keys) for source in sources]
    watched = [(Watch(source, line.fetch), line) for source, line in zip(sources, lines, strict=True)]
    listener = _listen(host, port)
    token = token or secrets.token_urlsafe(32)
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    lay_out(watched)
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Its own styles are enough: Tailwind's would be made in the browser, every time anything changes.
    ui.run_with(
        application,
        title="Corral",
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    local = is_loopback(host)
    gate = Gate(application, token, _LOOPBACK if local else None, reading_is_free=local, cookie=f"corral-{port}")
    # No access log: the token stands in the first request. No compression: it costs more than loopback does.
    config = uvicorn.Config(
        gate, log_config=None, access_log=False, ws="wsproto", ws_per_message_deflate=not local, lifespan="on",
        timeout_graceful_shutdown=2, server_header=False,
    )  # fmt: skip
    for watch, _ in watched:
        watch.start()
    stop.call(lambda: None)
    try:
        with listener:
            asyncio.run(
                _run(_Server(config), listener, stop, lambda: on_start(f"http://{shown}:{port}/?token={token}"))
            )
    finally:
        for watch, _ in watched:
            watch.stop()


class _Server(uvicorn.Server):
    """One that leaves signals to `StopRequest`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(server: _Server, listener: socket.socket, stop: StopRequest, on_start: Callable[[], None]) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done() and not server.started:
        await asyncio.sleep(0.02)
    if server.started:
        on_start()
    while not serving.done() and not stop.asked:
        await asyncio.sleep(0.05)
    if not serving.done():
        say_farewell()
        await asyncio.sleep(_FAREWELL_S)
        server.should_exit = True
    await serving


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at `host`, at `port` or at the first free one of ours. Raises `UserError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = range(PORT, PORT + _TRIES) if port is None else (port,)
    problem: OSError | None = None
    for each in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, each))
            # Not bind alone: with SO_REUSEADDR two may be bound, of whom one can listen.
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            problem = error
    assert problem is not None
    ports = str(port) if port is not None else f"{PORT} to {PORT + _TRIES - 1}"
    raise UserError(f"the dashboard cannot listen on {host}, port {ports}: {problem.strerror or problem}")
