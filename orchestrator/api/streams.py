"""Server-sent events: an answer that goes on, read in pages, written by the event loop.

An open stream holds neither a thread nor a database connection while it waits, and in memory at most
the page that it is sending: a slow reader slows its own pages down and nothing else.  It ends when its
source says so, when the client leaves, and within a few seconds when its key no longer counts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import Error
from django.http import HttpResponse
from django.utils.http import parse_header_parameters

from orchestrator.api.doors import ApiRequest, bearer
from orchestrator.api.errors import refuse
from orchestrator.conf import conf
from orchestrator.domain.errors import OverQuota, TenantSuspended
from orchestrator.services.usage import meter
from orchestrator.store.release import release
from tenants import fence, keys
from tenants.errors import TenantsError

logger = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 15.0
"""Silence is never longer: a comment is sent, so that proxies and clients know that it goes on."""
RETRY_MS = 2000
"""What a client is told to wait before it comes back."""
CHECK_S = 2.0
"""How often it is asked whether keys still count."""
AGAIN_S = 1.0
"""After the database did not answer."""
THREADS = 4

P = ParamSpec("P")
T = TypeVar("T")
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="streams")
"""For the reads of streams that are woken when there is something to read."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent next: frames (see `frame`), perhaps none.  `more`: there is more at once;
    `ended`: nothing will follow."""

    frames: Sequence[bytes] = ()
    more: bool = False
    ended: bool = False


class Source(Protocol):
    """Where a stream's frames come from.  All is called on the event loop, one call at a time."""

    async def read(self) -> Batch:
        """What there is by now; waits for nothing but the reading.  Raises database errors, after
        which it is called again."""

    async def wait(self) -> None:
        """Return when it is worth reading again.  May be cancelled, and called anew."""

    def close(self) -> None:
        """The stream is over."""


def frame(data: str, *, ident: int | str | None = None, event: str | None = None) -> bytes:
    """One message of a stream, as it is sent; `ident` is what a client that comes back says."""
    head = "" if ident is None else f"id: {ident}\n"
    if event is not None:
        head += f"event: {event}\n"
    if "\n" in data or "\r" in data:  # in JSON that is space between tokens
        data = "\ndata: ".join(data.splitlines())
    return f"{head}data: {data}\n\n".encode()


def comment(text: str = "") -> bytes:
    """What clients skip."""
    return f": {text}\n\n".encode()


def wants_stream(request: ApiRequest) -> bool:
    """Whether the client names `text/event-stream` in `Accept`."""
    for part in request.headers.get("Accept", "").split(","):
        name, parameters = parse_header_parameters(part)
        if name == EVENT_STREAM and parameters.get("q", "1").strip("0.") != "":
            return True
    return False


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a read in one of the few threads for streams; its connection is given back."""
    return await run_in(_threads, partial(function, *args, **kwargs))


async def run_in(threads: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    """Run a read in one of these threads; its connection is given back."""

    def run() -> T:
        try:
            return function()
        finally:
            release()

    return await asyncio.get_running_loop().run_in_executor(threads, run)


async def within(
    tenant_id: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """The same as a tenant, whose rows alone are seen."""

    def read() -> T:
        with fence.within(tenant_id):
            return function(*args, **kwargs)

    return await in_thread(read)


def stream(
    request: ApiRequest, source: Callable[[], Source], *, scope: str, first: bytes = b""
) -> Stream:
    """An answer that `orchestrator.asgi` sends for as long as it goes on.

    `source` is called on the event loop when the stream begins.  `first` is sent before.  Raises
    TenantSuspended."""
    if request.tenant.suspended_at is not None:
        raise TenantSuspended(tenant=request.tenant.slug)
    return Stream(request, source, scope, first)


class Stream(HttpResponse):
    """A stream's head, and what sends its body (`serve`)."""

    def __init__(
        self, request: ApiRequest, source: Callable[[], Source], scope: str, first: bytes
    ) -> None:
        super().__init__(
            content_type=EVENT_STREAM,
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
        )
        self.tenant_id: int = request.tenant.pk
        self._key = bearer(request)
        self._origin = request.META.get("REMOTE_ADDR") or ""
        self._scope = scope
        self._source = source
        self._wrote_at = 0.0
        self._first = f"retry: {RETRY_MS}\n\n".encode() + first

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send it; returns when it is over, for whatever reason."""
        seats = Seats.here()
        try:
            seats.take(self.tenant_id)
        except OverQuota as error:
            await _send_whole(refuse(error), send)
            return
        try:
            await self._serve(receive, send)
        finally:
            seats.give_back(self.tenant_id)

    async def _serve(self, receive: Receive, send: Send) -> None:
        source = self._source()
        doorman = Doorman.here()
        going = asyncio.create_task(self._go_on(source, send))
        leaving = asyncio.create_task(_gone(receive))
        refused = asyncio.create_task(doorman.watch(self._key, self._origin, self._scope))
        tasks = (going, leaving, refused)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            source.close()
        if not leaving.cancelled() and leaving.exception() is None:
            return  # nobody is there to be told
        with suppress(TimeoutError):  # one who does not read does not hear of the end either
            async with asyncio.timeout(AGAIN_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _go_on(self, source: Source, send: Send) -> None:
        try:
            headers = [(name.lower().encode(), value.encode()) for name, value in self.items()]
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": headers}
            )
            await self._write(self._first, send)
            while not (batch := await self._next(source)).ended:
                if batch.frames:
                    await self._write(b"".join(batch.frames), send)
                elif time.monotonic() - self._wrote_at > HEARTBEAT_S:  # a long search
                    await self._write(comment(), send)
                if not batch.more:
                    await self._patiently(source, send)
            await self._write(b"".join(batch.frames), send)
        except OSError:
            return  # the client has gone
        except Exception:
            logger.exception("a stream of tenant %s ends", self.tenant_id)

    async def _next(self, source: Source) -> Batch:
        """The next batch; while the database does not answer, an empty one each second."""
        try:
            return await source.read()
        except (Error, psycopg.Error) as error:
            logger.warning("a stream cannot be read at the moment: %s", str(error).strip())
            await asyncio.sleep(AGAIN_S)
            return Batch(more=True)

    async def _patiently(self, source: Source, send: Send) -> None:
        """Wait for more, with a sign of life now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await source.wait()
                return
            await self._write(comment(), send)

    async def _write(self, body: bytes, send: Send) -> None:
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._wrote_at = time.monotonic()
            meter.count(self.tenant_id, len(body), requests=0)


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_whole(response: HttpResponse, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


class Seats:
    """How many streams are open in this process, in all and by tenant."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    @classmethod
    def here(cls) -> Seats:
        """Those of the running event loop."""
        return _seats.setdefault(asyncio.get_running_loop(), cls())

    def take(self, tenant_id: int) -> None:
        """Raises OverQuota where there is no room for another."""
        use = self._taken[tenant_id]
        if use >= conf().tenant_streams:
            raise OverQuota(
                quota="streams", value=conf().tenant_streams, use=use, retry_after=RETRY_MS // 1000
            )
        if self._taken.total() >= conf().streams:
            raise OverQuota(
                "This server holds as many streams as it may; try again in a moment.",
                quota="server_streams",
                value=conf().streams,
                use=self._taken.total(),
                retry_after=RETRY_MS // 1000,
            )
        self._taken[tenant_id] += 1

    def give_back(self, tenant_id: int) -> None:
        """One has ended."""
        self._taken[tenant_id] -= 1
        if not self._taken[tenant_id]:
            del self._taken[tenant_id]


@dataclass(eq=False, slots=True)
class _Guest:
    """A key with open streams."""

    key: str
    origin: str
    scope: str
    refused: asyncio.Event
    count: int = 0


class Doorman:
    """Asks every two seconds, for each key once however many streams it has, whether it still opens."""

    def __init__(self) -> None:
        self._guests: dict[tuple[str, str], _Guest] = {}
        self._asking: asyncio.Task[None] | None = None

    @classmethod
    def here(cls) -> Doorman:
        """That of the running event loop."""
        return _doormen.setdefault(asyncio.get_running_loop(), cls())

    async def watch(self, key: str, origin: str, scope: str) -> None:
        """Return when the key no longer counts, or its tenant is suspended or gone."""
        guest = self._guests.get((key, scope))
        if guest is None:
            guest = self._guests[key, scope] = _Guest(key, origin, scope, asyncio.Event())
        guest.count += 1
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            await guest.refused.wait()
        finally:
            guest.count -= 1
            if not guest.count and self._guests.get((key, scope)) is guest:
                del self._guests[key, scope]
            if not self._guests and self._asking is not None:
                self._asking.cancel()
                self._asking = None

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            guests = list(self._guests.values())
            try:
                for guest in await in_thread(_refused, guests):
                    if self._guests.get((guest.key, guest.scope)) is guest:
                        del self._guests[guest.key, guest.scope]  # whoever comes now is asked anew
                    guest.refused.set()
            except (Error, psycopg.Error) as error:
                logger.warning("keys of streams are not checked: %s", str(error).strip())
            except Exception:
                logger.exception("keys of streams are not checked")


def _refused(guests: Sequence[_Guest]) -> list[_Guest]:
    """Those that would not be let in again."""
    return [guest for guest in guests if not _counts(guest)]


def _counts(guest: _Guest) -> bool:
    with fence.as_(fence.NOBODY):
        try:
            key = keys.authenticate(guest.key, origin=guest.origin)
        except TenantsError:
            return False
    return key is not None and guest.scope in key.scopes and key.tenant.suspended_at is None


_seats: WeakKeyDictionary[asyncio.AbstractEventLoop, Seats] = WeakKeyDictionary()
_doormen: WeakKeyDictionary[asyncio.AbstractEventLoop, Doorman] = WeakKeyDictionary()
