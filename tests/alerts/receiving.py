"""Receivers of notifications: real HTTP servers that take, refuse, hang, or send elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any


@dataclass
class Letter:
    """A request that came."""

    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.headers["idempotency-key"]


@dataclass
class Place:
    """Where requests come to.  `answers` are statuses for the next ones, 204 after them; while `open`
    is not set, none is answered; `then` is called before an answer."""

    url: str
    came: Queue[Letter] = field(default_factory=Queue)
    answers: list[int] = field(default_factory=list)
    location: str = ""
    open: threading.Event = field(default_factory=threading.Event)
    then: Callable[[], None] = lambda: None

    def next(self, within_s: float = 30) -> Letter:
        """The next request, which comes in time."""
        return self.came.get(timeout=within_s)

    @property
    def count(self) -> int:
        """Requests that came and were not looked at."""
        return self.came.qsize()


@contextmanager
def receiver() -> Iterator[Place]:
    """Such a place at 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            place.came.put(Letter(headers, self.rfile.read(length)))
            place.then()
            place.open.wait(60)
            status = place.answers.pop(0) if place.answers else 204
            self.send_response(status)
            if place.location:
                self.send_header("Location", place.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Who asked has gone: that is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    place = Place(f"http://127.0.0.1:{server.server_address[1]}/hook/secret-path")
    place.open.set()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        place.open.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
