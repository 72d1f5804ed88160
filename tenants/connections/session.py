"""The one connection of a step: opened when it is first asked for, given back at the step's end."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import psycopg
from psycopg.waiting import READY_R

from tenants.connections.pool import CLOSED, ConnectionRefused, Kept, Pools, shut

logger = logging.getLogger(__name__)

SyncConnection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
GIVE_BACK_S = 5.0
TOLD_S = 0.05
"""A wait that is shorter is none."""
LEAST_READ = 4096
"""libpq reads at least so much of what is there: it makes room for 8 KiB each time, and records of TLS
are seldom shorter."""


class AnswerTooLarge(Exception):
    """The server's answer is larger than it may be."""


class StepConnection(psycopg.Connection[tuple[Any, ...]]):
    """A plain function's connection.  `with` it ends a transaction; the step's end gives it back."""

    _pool = None  # psycopg: it need not be closed by whoever drops it

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if not self.closed:
            self.rollback() if exc_type else self.commit()


class AsyncStepConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """An async handler's connection: the same; an answer larger than `most_bytes` is not read."""

    _pool = None
    most_bytes: int | None = None

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """psycopg's way to the server, for every statement.  Raises AnswerTooLarge: it is closed then."""
        if self.most_bytes is None:
            return await super().wait(gen, *args, **kwargs)
        try:
            return await super().wait(
                metered(gen, self.pgconn.socket, self.most_bytes), *args, **kwargs
            )
        except AnswerTooLarge:
            self.pgconn.finish()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if not self.closed:
            await (self.rollback() if exc_type else self.commit())


def metered(steps: Generator[Any, Any, Any], socket: int, most: int) -> Generator[Any, Any, Any]:
    """psycopg's generator `steps`, until more than `most` bytes have come.

    libpq does not say how much it has read, only the kernel what it has not read yet: what that lost by
    a reading was read, and never less than `LEAST_READ` of it, though more may have come meanwhile.  So
    at least as much has come as is counted, and what is no larger than it may be is never refused.
    Asked before each reading, so that it is known in time even of one row; only where a long message comes
    faster than libpq reads it, which happens over TLS, does that not stop before its end.

    Raises AnswerTooLarge."""
    read = there = 0
    ready = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as end:
            return end.value
        read += max(min(there, LEAST_READ), there - _unread(socket))
        ready = yield wanted
        there = _unread(socket) if ready and ready & READY_R else 0
        if read + there > most:
            raise AnswerTooLarge


def _unread(socket: int) -> int:
    """How many bytes have come that nobody has read yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(socket, termios.FIONREAD, b"\0" * 4))
    return int(count)


class Opening:
    """What `ctx.connection()` is in an async handler: await it, or enter it.

    Entered, it is this block's alone until its end: items of a map that run side by side take turns.
    A block inside of that, in the same coroutine, is part of it."""

    __slots__ = ("_inside", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inside = False

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        return self._session.open_async().__await__()

    async def __aenter__(self) -> AsyncConnection:
        session, caller = self._session, asyncio.current_task()
        self._inside = session.holder is caller
        if not self._inside:
            await session.turn.acquire()
            session.holder = caller
        try:
            return await session.open_async()
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if not self._inside:
                await self._session.leave_async(exc_type, exc_val, exc_tb)
        finally:
            self._release()

    def _release(self) -> None:
        if not self._inside:
            self._session.holder = None
            self._session.turn.release()


class Session:
    """A step's connection, to its tenant's own database."""

    __slots__ = (
        "_ended", "_kept", "_link", "_lock", "_opening", "_pools", "_tenant_id", "_told", "_turn",
        "elsewhere_pid", "holder",
    )  # fmt: skip

    def __init__(
        self,
        pools: Pools,
        tenant_id: int,
        *,
        told: Callable[[int | None], None] | None = None,
    ) -> None:
        self.elsewhere_pid: int | None = None
        """The server's process of a connection that a helper process has opened for the step."""
        self.holder: asyncio.Task[Any] | None = None
        """Whoever has entered the connection."""
        self._told = told
        self._pools = pools
        self._tenant_id = tenant_id
        self._kept: Kept | None = None
        self._link: Any = None
        self._lock = threading.Lock()
        self._opening: Any = None
        self._turn: asyncio.Lock | None = None
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether there is something to give back."""
        return self._kept is not None

    @property
    def backend_pid(self) -> int | None:
        """The server's process, where the role is the tenant's own; None: there is none to end."""
        kept = self._kept
        if kept is None:
            return self.elsewhere_pid
        return None if kept.address.target is not None else kept.raw.backend_pid or None

    @property
    def turn(self) -> asyncio.Lock:
        """Held by whoever has entered the connection."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn

    def open(self) -> SyncConnection:
        """The step's connection; waits while the server gives none.  Raises ConnectionRefused."""
        with self._lock:
            if self._opening is None:
                self._opening = threading.Lock()
        with self._opening:
            if self._link is None or self._link.closed:
                waiting = _Waiting(self._pools, self._tenant_id)
                kept = None
                while kept is None:
                    self._must_run()
                    try:
                        kept = self._pools.try_open(self._tenant_id)
                    except psycopg.OperationalError as error:
                        time.sleep(waiting.pause(error))
                waiting.end()
                self._take(kept, StepConnection(kept.raw))
            return self._link  # type: ignore[no-any-return]

    async def open_async(self) -> AsyncConnection:
        """The same in an event loop."""
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._link is None or self._link.closed:
                waiting = _Waiting(self._pools, self._tenant_id)
                kept = None
                while kept is None:
                    self._must_run()
                    try:
                        kept = await self._try_open()
                    except psycopg.OperationalError as error:
                        await asyncio.sleep(waiting.pause(error))
                waiting.end()
                self._take(kept, AsyncStepConnection(kept.raw))
            return self._link  # type: ignore[no-any-return]

    async def leave_async(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """End the transaction of a block that had entered the connection."""
        if self._link is not None:
            await self._link.__aexit__(exc_type, exc_val, exc_tb)

    def close(self) -> None:
        """The step has ended: give its connection back, if it has one."""
        if (kept := self._leave()) is not None:
            self._pools.give_back(self._tenant_id, kept)

    async def aclose(self) -> None:
        """The same in an event loop; bounded in time, after which the connection is cut."""
        if (kept := self._leave()) is None:
            return
        giving = self._pools.threads.submit(self._pools.give_back, self._tenant_id, kept)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(giving)), GIVE_BACK_S)
        except TimeoutError:
            shut(kept.raw)

    def cut(self) -> None:
        """From any thread: nothing more goes over the connection, and whoever waits for it gets an error."""
        with self._lock:
            self._ended = True
            if self._kept is not None:
                shut(self._kept.raw)

    def _must_run(self) -> None:
        if self._ended:
            raise RuntimeError("the step has ended: its connection was given back")

    async def _try_open(self) -> Kept:
        opening = self._pools.threads.submit(self._pools.try_open, self._tenant_id)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_drop)
            raise

    def _take(self, kept: Kept, link: psycopg.BaseConnection[Any]) -> None:
        link._autocommit = True
        with self._lock:
            before, self._kept = self._kept, kept
            self._link = link
            ended = self._ended
        if before is not None:
            before.raw.finish()
        if ended:  # it was cut off meanwhile
            shut(kept.raw)
        if self._told is not None:
            self._told(self.backend_pid)

    def _leave(self) -> Kept | None:
        with self._lock:
            self._ended = True
            kept, self._kept = self._kept, None
            if self._link is not None:
                self._link.pgconn = CLOSED
        return kept


class _Waiting:
    """How long a step has been waiting for a connection, and how often it was refused."""

    def __init__(self, pools: Pools, tenant_id: int) -> None:
        self._pools = pools
        self._tenant_id = tenant_id
        self._begun = time.monotonic()
        self._refused = 0

    def pause(self, error: psycopg.Error) -> float:
        """Seconds until it is to ask again.  Raises ConnectionRefused when its time is up."""
        waited = time.monotonic() - self._begun
        if waited >= self._pools.wait_s:
            self.end()
            logger.warning("tenant %s got no connection: %s", self._tenant_id, str(error).strip())
            raise ConnectionRefused(
                f"the tenant's database gave no connection within {self._pools.wait_s:g} s"
            ) from None
        self._refused += 1
        return self._pools.pause(self._refused)

    def end(self) -> None:
        """It waits no longer."""
        waited = time.monotonic() - self._begun
        if self._refused:
            self._pools.waited(self._tenant_id, waited)
            if waited > TOLD_S:
                logger.info("tenant %s waited %.2f s for a connection", self._tenant_id, waited)


def _drop(opening: Future[Kept]) -> None:
    """Close what was opened for a step that was cancelled meanwhile."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().raw.finish()
