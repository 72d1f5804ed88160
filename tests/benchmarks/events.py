"""Events written at a steady rate and delivered: to the channel layer, and to a client of a stream."""

from __future__ import annotations

import bisect
import json
import re
import socket
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.bench import Bench, Wrong, quantile
from tests.benchmarks.results import metric
from tests.embedded.running import ROOT
from tests.system.running_system import TestTenant
from tests.system.shapes import chain

RATE = 11_000
"""A tenth more than the budget asks for, so that a pause of the machine does not decide."""
RUNS = 100
TRANSIT_S = 0.0005
"""What was heard so soon after a commit may have been said before it, and does not count for it."""
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)


def events(bench: Bench) -> dict[str, Any]:
    """11,000 events/s in commits of 55, each hinted as workers do; from the commit's answer to what hears."""
    tenant = bench.system.tenant()
    tenant.publish("one", chain(1))
    tenant.wait_all(tenant.submit_many("one", RUNS))
    seconds = max(1.0, bench.target_s)
    _measure(tenant, RATE // 10, 1.0)
    sets = bench.repeated(lambda: _measure(tenant, RATE, seconds))
    metrics = {"written_per_s": metric("events/s", "higher", [rate for rate, _, _ in sets])}
    ends = {"channel": [one[1] for one in sets], "stream": [one[2] for one in sets]}
    for name, waits in ends.items():
        for share in (0.5, 0.95, 0.99):
            found = [quantile(seconds, share) * 1000 for seconds in waits]
            metrics[f"{name}_p{round(share * 100)}_ms"] = metric("ms", "lower", found)
    return {
        "params": {
            "rate": RATE,
            "seconds": seconds,
            "from": "a commit's answer at its writer; all processes on one machine's clock",
            "channel": "first push heard by another process 0.5 ms or more after the commit",
            "stream": "a client's read of the event from GET /events over HTTP, every event once and in order",
        },
        "metrics": metrics,
    }


def _measure(
    tenant: TestTenant, rate: int, seconds: float
) -> tuple[float, list[float], list[float]]:
    """Events a second, and seconds from commits to the channel and to the stream."""
    client = Client(tenant)
    listener = _start(tenant, "listen")
    assert listener.stderr is not None
    while listener.stderr.readline().strip() != "ready":
        if listener.poll() is not None:
            raise Wrong("nobody listens to the channel layer")
    writer = _start(tenant, "write", rate, seconds)
    commits: list[tuple[int, float]] = json.loads(writer.communicate(timeout=120)[0])
    heard: list[float] = json.loads(listener.communicate(timeout=120)[0])
    last = commits[-1][0]
    received = client.until(last)
    count = last - commits[0][0]
    channel, stream = [], []
    for position, at in commits:
        place = bisect.bisect_left(heard, at + TRANSIT_S)
        if place == len(heard):
            raise Wrong(f"the channel layer heard nothing after position {position}")
        channel.append(heard[place] - at)
        stream.append(received[position] - at)
    return count / (commits[-1][1] - commits[0][1]), channel, stream


def _start(tenant: TestTenant, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.benchmarks.eventload", str(arguments[0]), str(tenant.id)]
    words += [str(one) for one in arguments[1:]]
    return subprocess.Popen(
        words, cwd=ROOT, env=tenant.system.env, text=True, stdout=subprocess.PIPE,
        stdin=subprocess.PIPE, stderr=subprocess.PIPE if arguments[0] == "listen" else None,
    )  # fmt: skip


class Client:
    """Reads a tenant's stream from a socket, and notes when each event came."""

    def __init__(self, tenant: TestTenant) -> None:
        address = urlsplit(tenant.system.url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.sendall(
            f"GET /api/v1/events HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {tenant.key}\r\n\r\n".encode()
        )
        self.received: dict[int, float] = {}
        self.problem = ""
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._begun.wait(10):
            raise Wrong("the stream does not begin")
        time.sleep(0.5)  # it listens

    def _read(self) -> None:
        rest = b""
        last = 0
        while piece := self._receive():
            at = time.monotonic()
            rest += piece
            whole, _, rest = rest.rpartition(b"\n\n")
            self._begun.set()
            for found in _ID.findall(whole):
                position = int(found)
                if last and position != last + 1:
                    self.problem = f"{position} came behind {last}"
                self.received[position] = at
                last = position

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 18)
        except OSError:  # it was closed here
            return b""

    def until(self, position: int) -> dict[int, float]:
        """When each event came, once this one has.  Raises Wrong."""
        end = time.monotonic() + 30
        while position not in self.received:
            if time.monotonic() > end:
                raise Wrong(
                    f"position {position} has not come; the last is {max(self.received, default=0)}"
                )
            time.sleep(0.01)
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
        if self.problem:
            raise Wrong(self.problem)
        return self.received
