"""Waiting for runs to end: one narrow question for all who wait in this process, and none when
nobody does.  It asks often at first, since most waits are short, then less often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.db import Error

from orchestrator.selectors.runs import finished_among
from orchestrator.store.release import release

logger = logging.getLogger(__name__)

SHORTEST_S = 0.003
LONGEST_S = 0.1
OF_THE_WAIT = 0.02
"""The pause as a share of the youngest wait so far: what an answer may come too late by."""


class Waiter:
    """Those who wait in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._youngest = 0.0

    async def wait(self, run_id: UUID, seconds: float) -> None:
        """Return when the run has ended, or after `seconds`."""
        ended = asyncio.Event()
        self._waiting.setdefault(run_id, set()).add(ended)
        self._youngest = time.monotonic()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        finally:
            others = self._waiting.get(run_id, set())
            others.discard(ended)
            if not others:
                self._waiting.pop(run_id, None)
        if not self._waiting and self._asking is not None:
            await asyncio.shield(self._asking)  # so that it ends with its loop still there

    async def _ask(self) -> None:
        """Tell those whose runs have ended, until nobody waits."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="waiter") as thread:
            while self._waiting:
                try:
                    found = await loop.run_in_executor(thread, finished_among, list(self._waiting))
                except (Error, psycopg.Error) as error:
                    logger.warning("cannot see whether runs have ended: %s", error)
                    await loop.run_in_executor(thread, release)
                    found = []
                self._tell(found)
                if not self._waiting:
                    break
                waited_s = time.monotonic() - self._youngest
                await asyncio.sleep(min(max(SHORTEST_S, OF_THE_WAIT * waited_s), LONGEST_S))
            await loop.run_in_executor(thread, release)
            self._asking = None

    def _tell(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            for ended in self._waiting.pop(run_id, ()):
                ended.set()


_waiters: WeakKeyDictionary[asyncio.AbstractEventLoop, Waiter] = WeakKeyDictionary()


async def wait_for_end(run_id: UUID, seconds: float) -> None:
    """Return when the run (which the caller has accessed) has ended, or after `seconds`."""
    await _waiters.setdefault(asyncio.get_running_loop(), Waiter()).wait(run_id, seconds)
