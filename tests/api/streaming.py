"""A stream's client side, in this process: the answer that the API gives, served as orchestrator.asgi does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

from orchestrator.api.streams import EVENT_STREAM, Stream
from tests.api.client import Api


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    ident: int | None
    event: str | None
    data: Any


class Following:
    """An open stream."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status = 0
        self.ended = asyncio.Event()
        self.comments = 0
        self.reading = asyncio.Event()
        """Cleared: this client takes nothing in."""
        self.reading.set()
        self.body = b""
        """Of an answer that is no stream after all."""
        self._buffer = b""
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """ASGI's: the client's side says nothing until it leaves."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's."""
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if self.status != 200:
            self.body += message["body"]
            self.ended.set()
            return
        self._buffer += message["body"]
        while b"\n\n" in self._buffer:
            text, _, self._buffer = self._buffer.partition(b"\n\n")
            self._take(text.decode())
        if not message.get("more_body"):
            self.ended.set()

    def _take(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.split("\n") if not line.startswith(":"))
        if "data" in fields:
            ident = fields.get("id")
            known = Message(
                None if ident is None else int(ident),
                fields.get("event"),
                json.loads(fields["data"]),
            )
            self._messages.put_nowait(known)
        elif "retry" not in fields:
            self.comments += 1

    async def next(self, within_s: float = 30.0) -> Message:
        """The next message."""
        async with asyncio.timeout(within_s):
            return await self._messages.get()

    async def take(self, count: int) -> list[Message]:
        """The next messages."""
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[Message]:
        """What is left when the stream has ended."""
        async with asyncio.timeout(30):
            await self.ended.wait()
        found = []
        with suppress(asyncio.QueueEmpty):
            while True:
                found.append(self._messages.get_nowait())
        return found

    def leave(self) -> None:
        """Go away without a word."""
        self._left.set()


@asynccontextmanager
async def following(api: Api, path: str, last: int | None = None) -> AsyncIterator[Following]:
    """An open stream; the client leaves at the end."""
    headers = {"Accept": EVENT_STREAM} | ({} if last is None else {"Last-Event-ID": str(last)})
    response = await sync_to_async(api.response)("GET", path, headers=headers)
    assert isinstance(response, Stream), (response.status_code, response.content)
    found = Following(response)
    serving = asyncio.create_task(response.serve(found.receive, found.send))
    try:
        yield found
    finally:
        found.leave()
        found.reading.set()
        async with asyncio.timeout(30):
            await serving
