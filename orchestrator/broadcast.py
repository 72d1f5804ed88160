"""Pushes: "something changed" to the channel layer's groups.  Losing one costs a poll.

The clock tells pages and streams (`tell`), a few times a second for each tenant; writers hint to streams
at once, after their commit (`hint`).  What changed is read from the database, so that a push may come
late, twice or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Collection
from typing import Any
from uuid import UUID

from channels.layers import InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)

MANY = 200
"""Above so many runs in one push, they are not named."""
GATHER_S = 0.004
"""The pause after a process has sent its hints: so often at most, however much it writes."""
SEND_WITHIN_S = 2.0
QUIET_S = 5.0
"""After a hint could not be sent: the clock tells meanwhile, when it can."""


def group(tenant_id: int) -> str:
    """The channel group of all who look at a tenant."""
    return f"tenant.{tenant_id}"


def hints(tenant_id: int) -> str:
    """The channel group of those who want to know at once; many messages a second go there."""
    return f"hints.{tenant_id}"


async def tell(tenant_id: int, run_ids: Collection[UUID], seq: int) -> bool:
    """Tell all who look at a tenant that runs changed, up to event `seq`; whether that was said.  Never
    raises, and takes two seconds at most."""
    runs = [str(run_id) for run_id in run_ids] if len(run_ids) <= MANY else None
    message = {"type": "changed", "tenant": tenant_id, "runs": runs, "seq": seq}
    return await _say(group(tenant_id), message)


async def _say(name: str, message: dict[str, Any]) -> bool:
    layer = get_channel_layer()
    try:
        if layer is not None:
            async with asyncio.timeout(SEND_WITHIN_S):
                await layer.group_send(name, message)
    except Exception as error:
        logger.warning("no push to %s: %r", name, error)
        return False
    return True


class _Sender:
    """Sends hints from one thread of this process (a forked child starts its own)."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._pending: set[int] = set()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._some = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        self._thread.start()

    def put(self, tenant_ids: Collection[int]) -> None:
        with self._lock:
            first = not self._pending
            self._pending.update(tenant_ids)
        if first:
            self._loop.call_soon_threadsafe(self._some.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._send_all())

    async def _send_all(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            with self._lock:
                pending, self._pending = self._pending, set()
            well = True
            for tenant_id in pending:
                message = {"type": "hint", "tenant": tenant_id}
                well = well and await _say(hints(tenant_id), message)
            await asyncio.sleep(GATHER_S if well else QUIET_S)


_lock = threading.Lock()
_sender: _Sender | None = None


def hint(tenant_ids: Collection[int]) -> None:
    """Say, soon, that something happened in these tenants; it has been committed.

    Never raises and never waits.  Without a channel layer that processes share there is nobody to tell:
    they ask by themselves."""
    global _sender  # noqa: PLW0603  (one sender for each process)
    if not tenant_ids or isinstance(get_channel_layer(), InMemoryChannelLayer):
        return
    if _sender is None or _sender.pid != os.getpid():
        with _lock:
            if _sender is None or _sender.pid != os.getpid():
                _sender = _Sender()
    _sender.put(tenant_ids)
