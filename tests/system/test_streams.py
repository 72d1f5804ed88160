"""Streams of a running system: whatever is killed meanwhile, who comes back gets every event once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.system.running_system import System, TestTenant
from tests.system.shapes import chain

pytestmark = pytest.mark.system

IDLE = 200
LAST = 20_100
WRITE = """
WITH l AS (INSERT INTO tenant_load (tenant_id, seq) VALUES (%(tenant)s, %(n)s)
           ON CONFLICT (tenant_id) DO UPDATE SET seq = tenant_load.seq + %(n)s RETURNING seq)
INSERT INTO event (tenant_id, seq, at, type, data)
SELECT %(tenant)s, l.seq - %(n)s + g, clock_timestamp(), 'alert.firing', '{"text":"' || repeat('x', 200) || '"}'
  FROM l, generate_series(1, %(n)s) g
"""


class Faithful:
    """A client that comes back with the last id it has got."""

    def __init__(self, tenant: TestTenant) -> None:
        self.ids: list[int] = []
        self.resets = 0
        self.began = 0
        self._tenant = tenant
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._over.is_set():
            headers = {
                "Authorization": f"Bearer {self._tenant.key}",
                "Accept": "text/event-stream",
                "Last-Event-ID": str(self.ids[-1] if self.ids else 0),
            }
            with suppress(httpx.HTTPError):
                address = f"{self._tenant.system.url}/api/v1/events"
                with httpx.stream("GET", address, headers=headers, timeout=20) as answer:
                    self.began += answer.status_code == 200
                    for line in answer.iter_lines():
                        if line.startswith("id: "):
                            self.ids.append(int(line[4:]))
                        self.resets += line == "event: reset"
                        if self._over.is_set():
                            return
            self._over.wait(0.1)

    def leave(self) -> None:
        """No more."""
        self._over.set()


def last_position(tenant: TestTenant) -> int:
    [(seq,)] = tenant.system.sql("SELECT seq FROM tenant_load WHERE tenant_id = %s", tenant.id)
    return int(seq)


def submit(tenant: TestTenant, count: int) -> list[str]:
    """Runs, as soon as somebody takes them."""
    end = time.monotonic() + 60
    while True:
        try:
            return tenant.submit_many("chain", count)
        except (httpx.HTTPError, AssertionError):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_who_comes_back_gets_every_event_once(system: System, tenant: TestTenant) -> None:
    tenant.publish("chain", chain(3))
    client = Faithful(tenant)
    runs = submit(tenant, 20)
    system.until(lambda: client.ids)
    for part in ("valkey", "clock", "web"):
        began = client.began
        with suppress(ProcessLookupError):
            os.kill(system.pids(part)[0], signal.SIGKILL)
        runs += submit(tenant, 20)
        if part == "web":
            system.until(lambda: client.began > began, 60)  # noqa: B023  (asked in the loop)
            runs += submit(tenant, 20)
    tenant.wait_all(runs)
    last = last_position(tenant)
    system.until(lambda: client.ids[-1] >= last, 60)
    client.leave()
    assert client.ids == list(range(1, last + 1))
    assert client.resets == 0
    assert system.until(lambda: system.pids("valkey") and system.pids("clock"))


class Raw:
    """A stream's socket, read when the test says so."""

    def __init__(self, tenant: TestTenant, path: str, *, buffer: int | None = None) -> None:
        address = urlsplit(tenant.system.url)
        self._socket = socket.socket()
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(60)
        self._socket.connect((address.hostname, address.port))
        self._socket.sendall(
            f"GET /api/v1{path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {tenant.key}\r\nLast-Event-ID: 0\r\n\r\n".encode()
        )
        self._text = b""
        while b"retry" not in self._text:
            self._text += self._socket.recv(1000)

    def ids_until(self, last: int) -> list[int]:
        """The ids of all messages, to this one."""
        pieces = [self._text]
        while f"\nid: {last}\n".encode() not in b"".join(pieces[-2:]):
            pieces.append(self._socket.recv(1 << 20))
            assert pieces[-1], "the stream ended"
        # an HTTP chunk's head may stand within a line
        text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", b"".join(pieces))
        return [int(found) for found in re.findall(rb"^id: (\d+)$", text, re.MULTILINE)]

    def leave(self) -> None:
        """Go without a word."""
        self._socket.close()


def test_many_idle_streams_and_two_that_are_not_read(system: System, tenant: TestTenant) -> None:
    with ExitStack() as stack:

        def opened(path: str, buffer: int | None = None) -> Raw:
            made = Raw(tenant, path, buffer=buffer)
            stack.callback(made.leave)
            return made

        web = psutil.Process(system.pids("web")[0])
        slow = [opened("/events", 4096) for _ in range(2)]
        idle = [opened("/events") for _ in range(IDLE)]
        assert web.num_threads() < 60, "no thread waits for a stream"
        connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millrace'"
        assert system.sql(connections)[0][0] < 40, "nor does a connection"
        write(system, tenant, 100)
        for one in idle:
            assert one.ids_until(100) == list(range(1, 101))
            one.leave()
        for _ in range(10):
            write(system, tenant, 2000)
        quick = opened("/events")
        assert quick.ids_until(LAST) == list(range(1, LAST + 1))
        for one in slow:
            assert one.ids_until(LAST) == list(range(1, LAST + 1))


def write(system: System, tenant: TestTenant, count: int) -> None:
    """So many events in one commit."""
    statement = WRITE.replace("%(tenant)s", str(tenant.id)).replace("%(n)s", str(count))
    system.sql(statement)


def test_a_stream_ends_soon_after_its_key(system: System, tenant: TestTenant) -> None:
    made = tenant.http.post("/api-keys", json={"name": "short"}).json()
    headers = {"Authorization": f"Bearer {made['key']}", "Accept": "text/event-stream"}
    address = f"{system.url}/api/v1/events"
    with httpx.stream("GET", address, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200
        assert tenant.http.delete(f"/api-keys/{made['id']}").status_code == 204
        assert "event:" not in answer.read().decode()
    assert httpx.get(address, headers=headers).status_code == 401
    assert json.loads(tenant.http.get("/events").text)["items"] == []
