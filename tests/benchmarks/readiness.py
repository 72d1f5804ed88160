"""What one completion costs that readies what follows, in runs of 10 to 10,000 steps.

Measured through the store, on the system's database: this process registers as a worker of a queue
that no other serves, claims steps, and completes them one by one.  A figure is the round trip of
`engine_complete` as a worker makes it, with its commit."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.store import Connection, workers
from orchestrator.store.work import Claimed, Completion, Wanted, exchange
from tests.benchmarks.bench import Bench, Wrong, quantile
from tests.benchmarks.results import metric
from tests.system.shapes import random_graph

QUEUE = "bench"
HANDLER = "test.noop"
SIZES = (10, 100, 1000, 10_000)
SAMPLES = 300
CLAIM = 20


def readiness(bench: Bench) -> dict[str, Any]:
    """Random graphs, so that a completion readies none, one or some; the first completions of each run."""
    metrics: dict[str, dict[str, Any]] = {}
    samples = bench.few(SAMPLES)
    sizes = SIZES[:2] if bench.quick else SIZES
    with _worker(bench) as (connection, worker_id, handler_id):
        for size in sizes:
            name = f"graph{size}"
            bench.publish(name, [{**step, "queue": QUEUE} for step in random_graph(size)])
            _samples(bench, connection, worker_id, handler_id, name, size, bench.few(100))

            def once(name: str = name, size: int = size) -> list[float]:
                return _samples(bench, connection, worker_id, handler_id, name, size, samples)

            sets = bench.repeated(once)
            for label, share in (("p50", 0.5), ("p95", 0.95)):
                values = [quantile(one, share) for one in sets]
                metrics[f"{label}_ms_{size}"] = metric("ms", "lower", values)
    how = "round trip of engine_complete with its commit, one completion each, through the store"
    return {"params": {"completions": samples, "measured": how}, "metrics": metrics}


@contextmanager
def _worker(bench: Bench) -> Iterator[tuple[Connection, int, int]]:
    """A worker of the queue: its connection, its id, and the id of the only handler it has."""
    [(handler_id,)] = bench.system.sql("SELECT id FROM handler WHERE name = %s", HANDLER)
    url = bench.system.env["SYSTEM_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        worker_id = workers.register(
            connection,
            name=f"bench:{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=[QUEUE],
            handler_ids=[handler_id],
        )
        if not workers.lock(connection, worker_id):
            raise Wrong("the worker's lock is taken")
        try:
            yield connection, worker_id, handler_id
        finally:
            workers.reap(connection, worker_id)


def _samples(
    bench: Bench,
    connection: Connection,
    worker_id: int,
    handler_id: int,
    name: str,
    size: int,
    count: int,
) -> list[float]:
    """Milliseconds of `count` completions, of as many runs as that takes; the rest is cancelled."""
    runs = bench.tenant.submit_many(name, max(1, -(-count // size)))
    wanted = Wanted([QUEUE], [handler_id], [0.001], CLAIM, 0, True, 1 << 20)
    found: list[float] = []
    claimed: list[Claimed] = []
    renewed = 0.0
    while len(found) < min(count, len(runs) * size):
        if time.monotonic() - renewed > 2:
            renewed = time.monotonic()
            told = workers.renew(connection, worker_id, in_flight=len(claimed), draining=False)
            if told is None:
                raise Wrong("the lease was lost")
        if not claimed:
            claimed = exchange(connection, worker_id, [], [], wanted)[1]
            if not claimed:
                raise Wrong(f"after {len(found)} completions nothing was ready")
        done = Completion(claimed.pop(), "succeeded", 0.0, output='{"ok":1}')
        began = time.perf_counter()
        refused, _ = exchange(connection, worker_id, [done], [], None)
        found.append((time.perf_counter() - began) * 1000)
        if refused:
            raise Wrong("a completion was refused")
    given_back = [Completion(one, "ready", 0.0, counts=False) for one in claimed]
    if given_back:
        exchange(connection, worker_id, given_back, [], None)
    for run in runs:
        bench.client.call("POST", f"/runs/{run}/cancel")
    bench.wait()
    return found
