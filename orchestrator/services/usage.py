"""Measuring what tenants use: duties of the clock, and what web processes tell of their requests."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import defaultdict
from functools import partial

import psycopg

from orchestrator import dispatch
from orchestrator.domain.fairness import entitled
from orchestrator.services.portions import all_of
from orchestrator.store import Connection, clock, connect, quotas, usage
from orchestrator.store.usage import Measured, Seen
from tenants import fence

logger = logging.getLogger(__name__)

KEEP_S = {60: 2 * 3600, 300: 8 * 86_400, 3600: 400 * 86_400}
LOOK_EVERY_S = 0.5
WRITE_EVERY_S = 2.0
LONGEST_S = 2.0
"""After a longer pause it is not known how the time between was spent."""
TELL_EVERY_S = 2.0
MEASURE_SHARE = 0.02
"""Of the time, what counting the storage may take."""


class Sampler:
    """Looks at every tenant's load, and adds up connections held and due.

    What it has not written down when its process dies is lost: at most two seconds."""

    def __init__(self) -> None:
        self._looked: float | None = None
        self._written = time.monotonic()
        self._kept: defaultdict[tuple[int, int], Measured] = defaultdict(Measured)

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many buckets were written."""
        moment = time.monotonic()
        passed = 0.0 if self._looked is None else min(moment - self._looked, LONGEST_S)
        self._looked = moment
        self._count(usage.look(connection), passed, int(time.time()) // 60 * 60)
        if moment - self._written < WRITE_EVERY_S or not self._kept:
            return 0
        rows = [(tenant_id, at, one) for (tenant_id, at), one in self._kept.items()]
        usage.add(connection, rows)
        self._kept.clear()
        self._written = moment
        return len(rows)

    def _count(self, seen: list[Seen], passed: float, at: int) -> None:
        for row, due in zip(seen, dues(seen), strict=True):
            one = self._kept[row.tenant_id, at]
            one.entitled_s += due * passed
            one.received_s += row.in_use * passed
            one.connections = max(one.connections, row.in_use)
            one.active_runs = max(one.active_runs, row.active_runs)
            one.waiting_steps = max(one.waiting_steps, row.ready)
            one.storage_bytes = max(one.storage_bytes, row.storage_bytes)


def dues(seen: list[Seen]) -> list[float]:
    """Connections that each tenant is due: as many as it has work for, within its limit and, by
    weight, within the server's."""
    claims = [
        (
            row.weight,
            float(row.in_use if row.suspended else min(row.in_use + row.ready, max(row.max_connections, row.in_use))),
        )
        for row in seen
    ]  # fmt: skip
    return entitled(seen[0].total, claims) if seen else []


class StorageCount:
    """Counts the storage of all tenants, again after as long as it took fifty times."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, connection: Connection) -> int:
        """Count, if it is time to; answers of how many tenants."""
        began = time.monotonic()
        if began < self._next:
            return 0
        count = usage.measure_storage(connection)
        ended = time.monotonic()
        self._next = ended + (ended - began) / MEASURE_SHARE
        return count


def end_overrides(connection: Connection, *, lease_s: float) -> int:
    """Let limits come back whose time is over, and tell idle workers; answers how many."""
    ended = quotas.end_due(connection)
    if ended:
        dispatch.wake(clock.eligible(connection, lease_s=lease_s))
    return ended


def prune(connection: Connection, limit: int = 10_000) -> int:
    """Drop the buckets of each width that nobody asks for any more, `limit` at a time; answers how
    many."""
    return sum(
        all_of(partial(usage.prune, connection, width_s=width, age_s=age, limit=limit))
        for width, age in KEEP_S.items()
    )


class RequestMeter:
    """Requests of this process by tenant, written down every two seconds while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: defaultdict[tuple[int, int], Measured] = defaultdict(Measured)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def count(self, tenant_id: int, size: int, *, requests: int = 1) -> None:
        """A request with its answer: `size` bytes of both bodies."""
        place = (tenant_id, int(time.time()) // 60 * 60)
        with self._lock:
            one = self._kept[place]
            one.requests += requests
            one.bytes += size

    def begin(self) -> None:
        """Write from a thread of its own, from now until the process ends (a web process calls it)."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="requests", daemon=True)
                self._thread.start()
                atexit.register(self.end)

    def end(self) -> None:
        """Write what is left, and no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(TELL_EVERY_S)

    def write(self, connection: Connection) -> int:
        """Write down what was counted; answers how many buckets.  What fails is written later.

        Raises psycopg.Error."""
        with self._lock:
            kept, self._kept = self._kept, defaultdict(Measured)
        try:
            usage.add(connection, [(tenant_id, at, one) for (tenant_id, at), one in kept.items()])
        except psycopg.Error:
            with self._lock:
                for place, one in kept.items():
                    self._kept[place].requests += one.requests
                    self._kept[place].bytes += one.bytes
            raise
        return len(kept)

    def _keep(self) -> None:
        going = True
        while going:
            going = not self._stop.wait(TELL_EVERY_S)
            if self._kept:
                try:
                    with connect(name="requests", role=fence.WORKER) as connection:
                        self.write(connection)
                except psycopg.Error as error:
                    logger.warning("requests are not written down yet: %s", str(error).strip())


meter = RequestMeter()
