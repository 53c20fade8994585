"""The gate: who is let through, with every kind of request that a browser can be made to send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from corral.dashboard.gate import STEERS, Gate, Message, Receive, Scope, Send

TOKEN = "a-token-of-the-test"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = "127.0.0.1:5580"


class Seen:
    """An application that notes what reached it, behind a gate."""

    def __init__(self, *, reading_is_free: bool = True, hosts: frozenset[str] | None = LOOPBACK) -> None:
        self.scopes: list[Scope] = []
        self.gate = Gate(self._app, TOKEN, hosts, reading_is_free=reading_is_free, cookie="corral-5580")

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    def ask(self, *, query: str = "", type_: str = "http", host: str = HOST, **headers: str) -> list[Message]:
        """What goes back for one request."""
        sent: list[Message] = []
        pairs = {"host": host, **headers}
        scope = {
            "type": type_,
            "method": "GET",
            "path": "/",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        }

        async def receive() -> Message:
            raise AssertionError("nothing is read of a request that is turned away")

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        return sent

    @property
    def steers(self) -> list[bool]:
        """Of each request that came through, whether it may steer."""
        return [scope[STEERS] for scope in self.scopes]


def headers_of(sent: list[Message]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def cookie(seen: Seen) -> str:
    """What a browser keeps of the answer to the address with the token."""
    sent = seen.ask(query=f"token={TOKEN}")
    assert sent[0]["status"] == 303
    assert headers_of(sent)["location"] == "/"
    kept: str = headers_of(sent)["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=Lax" in kept
    assert TOKEN not in kept
    return kept.partition(";")[0]


def test_reading_is_free_and_steering_is_not() -> None:
    seen = Seen()
    sent = seen.ask()
    assert sent[0]["status"] == 200
    seen.ask(cookie=cookie(seen))
    assert seen.steers == [False, True]
    assert headers_of(sent)["x-frame-options"] == "DENY"
    assert "default-src 'self'" in headers_of(sent)["content-security-policy"]


@pytest.mark.parametrize("token", ["", "x", TOKEN + "x", TOKEN[:-1], "ü"])
def test_a_wrong_token_is_told_so(token: str) -> None:
    seen = Seen()
    sent = seen.ask(query=f"token={token}")
    if token:
        assert sent[0]["status"] == 403
        assert "set-cookie" not in headers_of(sent)
        assert seen.scopes == []
    else:
        assert seen.steers == [False]


@pytest.mark.parametrize(
    "value", ["corral-5580=", "corral-5580=x", f"corral-5580={TOKEN}", "corral-5581=x", "=;=\x00"]
)
def test_a_wrong_cookie_does_not_steer(value: str) -> None:
    seen = Seen()
    seen.ask(cookie=value)
    assert seen.steers == [False]


def test_a_cookie_of_another_token_does_not_steer() -> None:
    seen = Seen()
    old = cookie(seen)
    seen.gate = Gate(seen.gate.app, "another", LOOPBACK, reading_is_free=True, cookie="corral-5580")
    seen.ask(cookie=old)
    assert seen.steers == [False]


def test_elsewhere_than_on_loopback_reading_needs_the_token() -> None:
    seen = Seen(reading_is_free=False, hosts=None)
    assert seen.ask(host="trainer.example:5580")[0]["status"] == 401
    assert seen.ask(host="trainer.example:5580", type_="websocket")[0]["type"] == "websocket.close"
    seen.ask(host="trainer.example:5580", cookie=cookie(seen))
    assert seen.steers == [True]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5580", "127.0.0.1.evil.example", "", "[", "127.0.0.2"]
)
@pytest.mark.parametrize("type_", ["http", "websocket"])
def test_a_name_that_is_not_ours_is_turned_away(host: str, type_: str) -> None:
    """DNS rebinding: the browser believes that it asks the other page's own server."""
    seen = Seen()
    sent = seen.ask(host=host, type_=type_, cookie=cookie(seen), origin=f"http://{host}")
    assert seen.scopes == []
    assert sent[0].get("status", 421) == 421


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:5580", "LOCALHOST:5580"])
def test_any_port_is_ours_on_loopback(host: str) -> None:
    """A page that is seen through a tunnel has another one."""
    seen = Seen()
    assert seen.ask(host=host, origin=f"http://{host}")[0]["status"] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:8888",
        "http://localhost:5580",
        "null",
        "",
        "http://127.0.0.1",
        "x",
        "http://[",
    ],
)
@pytest.mark.parametrize("type_", ["http", "websocket"])
def test_another_page_cannot_ask_for_this_one(origin: str, type_: str) -> None:
    """Requests and WebSockets that other pages make, cookie and all."""
    seen = Seen()
    sent = seen.ask(type_=type_, origin=origin, cookie=cookie(seen))
    assert seen.scopes == []
    assert sent[0].get("status", 403) == 403
    if type_ == "websocket":
        assert sent[0]["type"] == "websocket.close"


@pytest.mark.parametrize(
    ("site", "mode", "dest", "passes"),
    [
        ("none", "navigate", "document", True),  # typed, or from a terminal
        ("same-origin", "cors", "empty", True),
        ("cross-site", "navigate", "document", True),  # a link that is clicked: it shows the page, to its reader
        ("cross-site", "navigate", "iframe", False),
        ("cross-site", "no-cors", "image", False),
        ("same-site", "no-cors", "script", False),  # of another port of this host
        ("cross-site", "websocket", "websocket", False),
    ],
)
def test_another_page_builds_nothing_of_this_one(site: str, mode: str, dest: str, passes: bool) -> None:
    seen = Seen()
    sent = seen.ask(**{"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest})
    assert sent[0]["status"] == (200 if passes else 403)
    assert bool(seen.scopes) is passes


def test_what_is_no_request_passes() -> None:
    seen = Seen()
    came: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope["type"])

    seen.gate.app = app

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(seen.gate({"type": "lifespan"}, nothing, nothing))
    assert came == ["lifespan"]
