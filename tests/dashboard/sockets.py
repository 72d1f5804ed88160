"""A socket's client side, spoken in ASGI (channels' own needs a second web server installed)."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.testing import ApplicationCommunicator
from asgiref.typing import ASGIApplication

_Wire: Any = ApplicationCommunicator  # asgiref leaves it without types


class Socket:
    """One WebSocket connection to `application`."""

    def __init__(self, application: ASGIApplication, path: str, **scope: Any) -> None:
        where, _, query = path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": where,
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": [],
            **scope,
        }
        self._wire: Any = _Wire(application, self.scope)

    async def open(self) -> int | None:
        """Shake hands; None when accepted, else the code of the refusal."""
        await self._wire.send_input({"type": "websocket.connect"})
        answer = await self.message()
        return None if answer["type"] == "websocket.accept" else int(answer.get("code", 1000))

    async def message(self) -> dict[str, Any]:
        """The next thing that the server does."""
        return dict(await self._wire.receive_output(timeout=5))

    async def say(self, text: str) -> None:
        """Send a text to the server."""
        await self._wire.send_input({"type": "websocket.receive", "text": text})

    async def text(self) -> str:
        """The next text that the server sends."""
        answer = await self.message()
        assert answer["type"] == "websocket.send", answer
        return str(answer["text"])

    async def section(self, name: str) -> str:
        """The next text that swaps this section."""
        async with asyncio.timeout(5):
            while True:
                text = await self.text()
                if f'<div id="section-{name}" hx-swap-oob="innerMorph">' in text:
                    return text

    async def silence(self, seconds: float) -> bool:
        """Whether the server says nothing for so long."""
        return bool(await self._wire.receive_nothing(timeout=seconds))

    async def closed(self) -> int:
        """The code with which the server closes, whatever it says before."""
        async with asyncio.timeout(5):
            while True:
                answer = await self.message()
                if answer["type"] == "websocket.close":
                    return int(answer["code"])

    async def leave(self) -> None:
        """Close from this side."""
        await self._wire.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._wire.wait(timeout=5)
