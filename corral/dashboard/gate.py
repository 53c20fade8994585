"""Who may see the page, and who may steer: a token, and a guard against other web pages.

A browser sends what any page tells it to, also to this machine's own addresses. So each request must be meant for
this page: the host that it names must be ours (somebody else's name may lead here: DNS rebinding), and the page
that it says it comes from must be this one (other pages make requests, and open WebSockets). The token comes once,
in the address that the command prints; from then on a cookie stands for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

STEERS = "corral.steers"
"""In a request's scope: whether whoever sends it may steer."""

_HEADERS = (
    # Everything comes from here: the page works without a network, and tells nobody else of itself. NiceGUI and Vue
    # make functions of text, hence unsafe-eval.
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        b"base-uri 'none'; form-action 'self'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class Gate:
    """Stands before an ASGI application.

    Args:
      token: what the address that the command prints ends with.
      hosts: the names under which the page may be asked for; None for any, where everything needs the token.
      reading_is_free: whether the page may be seen without the token.
      cookie: the cookie's name.
    """

    def __init__(
        self, app: App, token: str, hosts: frozenset[str] | None, *, reading_is_free: bool, cookie: str
    ) -> None:
        self.app = app
        self._token = token.encode()
        self._hosts = hosts
        self._reading_is_free = reading_is_free
        self._cookie = cookie
        # The cookie is not the token: who gets hold of the one has not got the address that makes new ones.
        self._pass = hashlib.blake2b(b"corral dashboard", key=self._token[:64], digest_size=32).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, send on with a cookie, or turn away."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        host = headers.get("host", "")
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        if not self._is_ours(host):
            await _refuse(scope, send, 421, "This page is not served under that name.")
        elif not _comes_from(headers, host):
            await _refuse(scope, send, 403, "Another page may not ask for this one.")
        elif scope["type"] == "http" and given:
            await self._take(given[0], scope["path"], send)
        else:
            scope[STEERS] = self._has_pass(headers.get("cookie", ""))
            if scope[STEERS] or self._reading_is_free:
                await self.app(scope, receive, _with_headers(send))
            else:
                await _refuse(scope, send, 401, "Open the address with the token that corral dashboard printed.")

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return bool(name) and (self._hosts is None or name in self._hosts)

    def _has_pass(self, cookies: str) -> bool:
        try:
            shown = SimpleCookie(cookies).get(self._cookie)
        except CookieError:
            return False
        return shown is not None and hmac.compare_digest(shown.value.encode(), self._pass.encode())

    async def _take(self, token: str, path: str, send: Send) -> None:
        """A token: send its bearer on to the address without it, so that it stays in no history."""
        if not hmac.compare_digest(token.encode(), self._token):
            await _answer(send, 403, "This is not the token that corral dashboard printed.")
            return
        # Lax, since the link may be clicked in a terminal that is a web page itself.
        cookie = f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Lax"
        await _answer(send, 303, "", (b"location", b"/"), (b"set-cookie", cookie.encode()))


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _comes_from(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from the page at `host`, from a person who opens it, or from no browser at all."""
    # Browsers name the page with whatever may change something, and with WebSockets; newer ones say of the rest too
    # whether it is another page's picture, script or frame.
    foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
    opens = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if foreign and not opens:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
    else:
        await _answer(send, status, text)


async def _answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *_HEADERS, *headers]})
    await send({"type": "http.response.body", "body": text.encode()})


def _with_headers(send: Send) -> Send:
    async def added(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return added
