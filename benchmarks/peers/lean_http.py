"""The least that an HTTP client can do: one connection, one request, packed once, and the body of each answer.

A general client library takes more of a core than many a server does, and its time would count as the peer's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def connect(host: str, port: int, path: str, body: bytes, kind: str) -> Callable[[], Awaitable[bytes]]:
    """A coroutine function that posts `body`, whose content type is `kind`, and gives the answer's body."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 24)
    fields = {"Host": f"{host}:{port}", "Content-Type": kind, "Content-Length": len(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    request = f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def ask() -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        answer = await reader.readexactly(int(fields["content-length"]))
        if status.split(" ", 2)[1] != "200":
            raise OSError(f"{status}: {answer[:200].decode('latin-1')}")
        return answer

    return ask
