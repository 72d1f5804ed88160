"""Streams of what nobody is woken for: asked again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.api.doors import ApiRequest
from orchestrator.api.streams import Batch, run_in
from tenants import fence

POLLERS = 2
SLOWER = 1.5
"""How much longer a source that is polled rests each time in which nothing came."""

Cursor = TypeVar("Cursor")

_pollers = ThreadPoolExecutor(POLLERS, thread_name_prefix="polled")
"""For those that ask again and again: however many there are, they delay nobody's events."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[Cursor]):
    """A batch, and the cursor behind it."""

    batch: Batch
    cursor: Cursor


class Polled(Generic[Cursor]):
    """A source that is asked again and again: `read(cursor)` runs in a thread as the request's tenant.

    It is asked after `every_s`, and later and later, up to `idle_s`, while nothing comes."""

    def __init__(
        self,
        request: ApiRequest,
        read: Callable[[Cursor], Piece[Cursor]],
        cursor: Cursor,
        *,
        every_s: float = 1.0,
        idle_s: float = 0.0,
    ) -> None:
        self._tenant_id = request.tenant.pk
        self._read = read
        self._cursor = cursor
        self._every_s = every_s
        self._idle_s = max(idle_s, every_s)
        self._pause_s = every_s

    async def read(self) -> Batch:
        """See `Source`."""
        piece = await run_in(_pollers, self._look)
        self._cursor = piece.cursor
        slower_s = min(self._pause_s * SLOWER, self._idle_s)
        self._pause_s = self._every_s if piece.batch.frames else slower_s
        return piece.batch

    def _look(self) -> Piece[Cursor]:
        with fence.within(self._tenant_id):
            return self._read(self._cursor)

    async def wait(self) -> None:
        """See `Source`."""
        await asyncio.sleep(self._pause_s)

    def close(self) -> None:
        """See `Source`."""
