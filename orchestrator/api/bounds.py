"""No request is taken in beyond a size, whatever it is and whoever sent it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchestrator.api.errors import plain

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class _Beyond(Exception):
    """The body goes on after its limit."""


class Bounded:
    """An ASGI application, in front of which a body of more than `limit` bytes is refused with 413:
    before it has come where its length is declared, else while it comes.

    Django keeps a whole body, on disk, before any view sees the request."""

    def __init__(self, inner: App, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:30]) > self._limit:
            await self._refuse(send)
            return
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise _Beyond
            return message

        try:
            await self._inner(scope, counting, send)
        except _Beyond:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        detail = f"The body is larger than {self._limit:,} bytes."
        answer = plain(413, "Too large", detail, "too_large", headers={"Connection": "close"})
        headers = [(key.lower().encode(), value.encode()) for key, value in answer.items()]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})
