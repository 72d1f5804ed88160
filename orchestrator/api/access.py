"""Around every request: an id, which its answer and every line of the log carry, and one line at its end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable

from prometheus_client import Histogram
from uuid_utils.compat import uuid7

from orchestrator import logs, metrics, tracing
from orchestrator.api.bounds import App, Message, Receive, Send
from orchestrator.domain import traces
from orchestrator.tracing import RequestSpan

logger = logging.getLogger("access")

HEADER = b"x-request-id"
TRACEPARENT = traces.HEADER.encode()
LONGEST_PATH = 500
CLIENT_GONE = 499
"""What the log says where the client left before its answer had begun."""
_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_QUIET = ("/health/", "/static/", "/metrics", "/favicon")
"""Asked often, by machines: told at the level debug."""


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that the client or a proxy gave, where it is one; else a new one."""
    for name, value in headers:
        if name == HEADER and _SANE.fullmatch(value):
            return value.decode()
    return uuid7().hex


def shown_path(path: str) -> str:
    """A path without what must not be logged.  (The query never is.)"""
    return logs.without_secret_addresses(path)[:LONGEST_PATH]


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_UNKNOWN = "-"
"""What clients make up has no label of its own: an address that is none, a method that is none."""
_SECONDS = Histogram(
    metrics.HTTP_SECONDS.name,
    metrics.HTTP_SECONDS.help,
    metrics.HTTP_SECONDS.labels,
    buckets=metrics.HTTP_BOUNDS_S,
)


class Told:
    """An ASGI application whose requests are told in the log, and counted."""

    def __init__(self, inner: App) -> None:
        self._inner = inner

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        about = logs.Request(request_id(scope["headers"]))
        logs.request.set(about)
        span = self._begin(scope, about)
        begun = time.monotonic()
        waited_s: float | None = None
        status = CLIENT_GONE

        async def noting(message: dict[str, object]) -> None:
            nonlocal status, waited_s
            if message["type"] == "http.response.start":
                waited_s = time.monotonic() - begun
                status = int(str(message["status"]))
                given = message.get("headers") or ()
                headers = [*given, (HEADER, about.id.encode())]  # type: ignore[misc]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._inner(dict(scope), receive, noting)
        except BaseException:
            status = 500 if status == CLIENT_GONE else status
            raise
        finally:
            seconds = time.monotonic() - begun
            self._tell(scope, status, seconds)
            self._count(scope, about, status, seconds if waited_s is None else waited_s)
            if span is not None:
                span.end(status=status, route=about.route)

    def _begin(self, scope: Message, about: logs.Request) -> RequestSpan | None:
        """Keep the place in a trace that the client has sent; where tracing is on, a span from there."""
        given = [value for name, value in scope["headers"] if name == TRACEPARENT]
        place = traces.parse(given[0].decode("latin-1")) if len(given) == 1 else None
        about.traceparent = None if place is None else str(place)
        otel = tracing.backend()
        if otel is None or scope["path"].startswith(_QUIET):
            return None
        return otel.begin_request(scope["method"], shown_path(scope["path"]), place)

    def _count(self, scope: Message, about: logs.Request, status: int, seconds: float) -> None:
        """Until the answer began: streams go on for as long as they like."""
        method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
        _SECONDS.labels(method, about.route or _UNKNOWN, str(status)).observe(seconds)

    def _tell(self, scope: Message, status: int, seconds: float) -> None:
        level = logging.DEBUG if scope["path"].startswith(_QUIET) else logging.INFO
        if logger.isEnabledFor(level):
            path = shown_path(scope["path"])
            took = {"status": status, "ms": round(seconds * 1000, 1)}
            logger.log(level, "%s %s", scope["method"], path, extra=took)
