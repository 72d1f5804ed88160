"""One reading for all who look at the same page at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asgiref.sync import SyncToAsync
from channels.db import database_sync_to_async

T = TypeVar("T")

MIN_INTERVAL_S = 0.25
"""At most four updates a second."""
TIME_LIMIT_S = 5.0
"""A reading that takes longer is given up; the next change asks again."""

_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="push")


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """Run blocking reads in one of the few threads for pushes, with a database connection that is
    given back; raises TimeoutError when it takes too long."""
    run: SyncToAsync[..., T] = database_sync_to_async(
        function, thread_sensitive=False, executor=_threads
    )
    return await asyncio.wait_for(run(*args), TIME_LIMIT_S)


class Snapshots:
    """Readings by key, each shared for as long as an interval between updates."""

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[float, asyncio.Future[dict[str, str]]]] = {}

    async def get(
        self, key: Hashable, read: Callable[[], Awaitable[dict[str, str]]], changed_at: float
    ) -> dict[str, str]:
        """The reading of `key` that began after `changed_at` (monotonic seconds), else a new one."""
        loop = asyncio.get_running_loop()
        found = self._made.get(key)
        if found and found[0] >= changed_at and found[1].get_loop() is loop:
            return await asyncio.shield(found[1])
        began = time.monotonic()
        future = asyncio.ensure_future(read())
        self._made[key] = (began, future)
        self._forget(began)
        return await asyncio.shield(future)

    def _forget(self, now: float) -> None:
        old = [key for key, (began, _) in self._made.items() if now - began > 2 * TIME_LIMIT_S]
        for key in old:
            del self._made[key]
