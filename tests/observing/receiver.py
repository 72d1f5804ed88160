"""A collector of traces: an HTTP server that takes OTLP and remembers the spans."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Received:
    """A span as it arrived."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    begun: int
    ended: int
    attributes: dict[str, Any]
    status: int
    message: str
    events: list[tuple[str, dict[str, Any]]]
    service: str


class Collector:
    """What has arrived.  `status` is what it answers, `refuses` what to spans (0: it takes them)."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.status = 200
        self.refuses = 0
        self.url = ""
        self.headers: list[dict[str, str]] = []
        """Of requests that are no traces."""

    def take(self, body: bytes) -> None:
        """Spans."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_span(one, str(about["service.name"])) for one in scope.spans]

    def named(self, name: str) -> list[Received]:
        """Those of this name."""
        return [one for one in list(self.spans) if one.name == name]

    def until(self, condition: Callable[[], object], within_s: float = 60.0) -> None:
        """Wait for what must arrive."""
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, [one.name for one in self.spans]
            time.sleep(0.05)


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


def _span(one: Any, service: str) -> Received:
    return Received(
        one.name, one.kind, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
        one.start_time_unix_nano, one.end_time_unix_nano, _attributes(one.attributes),
        one.status.code, one.status.message,
        [(event.name, _attributes(event.attributes)) for event in one.events], service,
    )  # fmt: skip


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens."""
    known = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if known.refuses and ExportTraceServiceRequest.FromString(body).resource_spans:
                self._answer(known.refuses)
                return
            if self.path == "/v1/traces" and known.status == 200:
                known.take(body)
            self._answer(known.status)

        def do_GET(self) -> None:
            known.headers.append({key.lower(): value for key, value in self.headers.items()})
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
