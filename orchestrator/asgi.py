"""The web process: pages and API over HTTP, live pages over sockets."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

os.environ.setdefault("DATABASE_POOL", "1")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

import django

django.setup()

from tenants import fence

fence.serve_as(fence.NOBODY)  # until a door knows whose request it is

from asgiref.sync import ThreadSensitiveContext
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core import signals
from django.core.asgi import get_asgi_application
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import get_resolver, set_script_prefix

from dashboard.routing import websocket_urlpatterns
from orchestrator import broadcast, tracing
from orchestrator.api.access import Told
from orchestrator.api.bounds import Bounded
from orchestrator.api.doors import Later
from orchestrator.api.streams import Stream
from orchestrator.conf import conf
from orchestrator.services.usage import meter
from orchestrator.store.release import release

THREADS = 20
"""Requests of the API that are worked on at once; the pool has connections for as many."""


class ApiHandler(ASGIHandler):
    """Django without the pages' middleware, and with one change of thread for a request: the API has
    no sessions, cookies or forms, and Django's own handler changes threads for each of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")

    def load_middleware(self, is_async: bool = False) -> None:
        """Only the view, with exceptions made responses."""
        self._view_middleware: list[object] = []
        self._template_response_middleware: list[object] = []
        self._exception_middleware: list[object] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        """One request."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        loop = asyncio.get_running_loop()
        run = copy_context().run  # whose request it is, for the log
        response = await loop.run_in_executor(self._threads, run, self._respond, scope, body)
        if isinstance(response, Later):
            if not await _waited(response, receive):
                return
            response = await loop.run_in_executor(self._threads, run, self._settle, response)
        if isinstance(response, Stream):
            await response.serve(receive, send)
            return
        if not response.streaming:
            await self.send_response(response, send)
            return
        async with ThreadSensitiveContext():  # what makes its parts has a thread of its own
            await self.send_response(response, send)
        await loop.run_in_executor(self._threads, response.close)

    def _respond(self, scope, body):  # type: ignore[no-untyped-def]
        """The whole of a request in this thread; its connection is given back at the end."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refused = self.create_request(scope, body)
        response = refused if request is None else self.get_response(request)
        assert response is not None
        _meter(request, response)
        _hint(request, response)
        if response.streaming:
            release()
        else:
            body.close()
            response.close()
        return response

    def _settle(self, later: Later) -> HttpResponse:
        """What a client has waited for."""
        signals.request_started.send(sender=self.__class__)
        response = later.settle()
        meter.count(later.tenant_id, _size(response), requests=0)
        response.close()
        return response


def _meter(request: HttpRequest | None, response: HttpResponseBase) -> None:
    """Count a request whose key was good as its tenant's."""
    tenant = getattr(request, "tenant", None)
    if request is not None and tenant is not None:
        sent = request.META.get("CONTENT_LENGTH") or "0"
        meter.begin()
        meter.count(tenant.pk, (int(sent) if sent.isdigit() else 0) + _size(response))


def _hint(request: HttpRequest | None, response: HttpResponseBase) -> None:
    """Let streams look at once where something may have been changed."""
    tenant = getattr(request, "tenant", None)
    changing = request is not None and request.method not in ("GET", "HEAD")
    if tenant is not None and changing and response.status_code < 300:
        broadcast.hint((tenant.pk,))


def _size(response: HttpResponseBase) -> int:
    """Bytes of an answer's body; 0 where it is streamed."""
    return int(response.headers.get("Content-Length") or 0)


async def _waited(later: Later, receive: Callable[[], Awaitable[object]]) -> bool:
    """Whether the client is still there when what it waits for has come."""
    waiting = asyncio.create_task(later.wait())
    leaving = asyncio.ensure_future(receive())
    await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
    there = waiting.done()
    for task in (waiting, leaving):
        task.cancel()
    await asyncio.gather(waiting, leaving, return_exceptions=True)
    return there


class Http:
    """Sends requests below `/api/`, `/health/` and `/hooks/` past the pages' middleware."""

    def __init__(self) -> None:
        self._api = ApiHandler()
        self._pages = get_asgi_application()

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        """One request."""
        lean = scope["path"].startswith(("/api/", "/health/", "/hooks/"))
        await (self._api if lean else self._pages)(scope, receive, send)


tracing.start()
application = ProtocolTypeRouter(
    {
        "http": Told(Bounded(Http(), conf().request_bytes)),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)


def _settle_in() -> None:
    """Load what the first request would, and let garbage collections pass over all that is there by now.

    A full one walks 170,000 objects, and holds every stream and request up meanwhile: a quarter of a second
    on a busy machine."""
    assert get_resolver().url_patterns
    gc.collect()
    gc.freeze()


_settle_in()
