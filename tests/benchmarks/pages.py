"""The dashboard over a database that is full of finished step runs."""

from __future__ import annotations

import re
import time
from random import Random
from typing import Any

import httpx
import psycopg
from fastdigest import TDigest

from tests.benchmarks.bench import Bench, Wrong, quantile
from tests.benchmarks.results import metric
from tests.system.running_system import TestTenant
from tests.system.shapes import chain

STEPS = 10
CHUNK_RUNS = 20_000
LIVE_RUNS = 100
PASSWORD = "a-long-enough-word-9"
VERSION = """
SELECT v.workflow_id, v.id FROM workflow_version v JOIN workflow w ON w.id = v.workflow_id
 WHERE w.tenant_id = %s AND w.name = %s
"""
FILL = """
WITH made AS (
    INSERT INTO run (id, tenant_id, workflow_id, version_id, state, priority, input, output, created_at,
                     started_at, finished_at, timeout_ms, fail_fast, step_count, open_count, succeeded_count)
    SELECT gen_random_uuid(), %(tenant)s, %(workflow)s, %(version)s, 'succeeded', 5, '{}', '{"ok":1}', at,
           at + interval '5 ms', at + interval '80 ms', 604800000, false, %(steps)s, 0, %(steps)s
      FROM generate_series(%(first)s::int, %(last)s::int) AS n
      CROSS JOIN LATERAL (SELECT clock_timestamp() - interval '1 hour' - n * %(apart)s * interval '1 second' AS at) t
    RETURNING id, tenant_id, version_id, created_at
)
INSERT INTO step_run (tenant_id, run_id, ordinal, version_id, queue, rule, state, attempts, epoch, worker_id,
                      parents_total, parents_ok, ready_at, started_at, finished_at, output)
SELECT m.tenant_id, m.id, o, m.version_id, 'io', 'all_success', 'succeeded', 1, 1, 1,
       (o > 0)::int, (o > 0)::int, m.created_at + o * interval '7 ms', m.created_at + o * interval '7 ms',
       m.created_at + (o + 1) * interval '7 ms', '{"ok":1}'
  FROM made m CROSS JOIN generate_series(0, %(steps)s - 1) AS o
"""
"""Runs of the last 30 days, an hour ago at the latest, with their steps."""
ROLLUPS = """
INSERT INTO rollup (tenant_id, workflow_id, width_s, at, submitted, runs_succeeded, runs_failed, attempts,
                    steps_succeeded, events, worker_s, queue_sketch, attempt_sketch, run_sketch, ready_sketch)
SELECT %(tenant)s, workflow_id, width_s, at, 500, 490, 10, 5000, 4990, 25000, 500.0,
       %(sketch)s, %(sketch)s, %(sketch)s, %(sketch)s
  FROM (SELECT 0 AS workflow_id UNION ALL SELECT id FROM workflow WHERE tenant_id = %(tenant)s) w
 CROSS JOIN (VALUES (10, interval '2 hours'), (60, interval '6 hours'), (300, interval '2 days'),
                    (3600, interval '30 days')) AS widths (width_s, kept)
 CROSS JOIN LATERAL generate_series(
       date_bin(width_s * interval '1 second', now() - kept, '2000-01-01Z'),
       now() - width_s * interval '1 second', width_s * interval '1 second') AS at
    ON CONFLICT DO NOTHING
"""
"""What such runs are counted to, as far as a page reads it: every bucket full, of every workflow."""
WORKFLOWS = 20
CENTROIDS = 100
"""As the server makes its sketches."""
WINDOWS = ("15m", "24h", "7d")


def pages(bench: Bench) -> dict[str, Any]:
    """Overview, Runs and one Run, as a signed-in viewer gets them, one request after the other."""
    user = {"name": f"viewer-{time.monotonic_ns()}", "password": PASSWORD, "role": "viewer"}
    tenant = bench.system.tenant(max_connections=50, users=[user])
    for name in ("import", *(f"other-{number}" for number in range(1, WORKFLOWS))):
        tenant.publish(name, chain(STEPS))
    _fill(bench, tenant)
    runs = tenant.submit_many(
        "import", bench.few(LIVE_RUNS)
    )  # so that the charts have something to show
    tenant.wait_all(runs)
    count = bench.few(100)
    metrics: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=bench.system.url, timeout=60) as browser:
        _sign_in(browser, user)
        windows = {f"overview_{name}": f"?window={name}" for name in WINDOWS}
        places = {"overview": "", **windows, "runs": "runs/", "run": f"runs/{runs[0]}/"}
        for name, place in places.items():
            address = f"/t/{tenant.slug}/{place}"
            _fetched(browser, address, 5)
            sets = bench.repeated(lambda at=address: _fetched(browser, at, count))  # type: ignore[misc]
            for label, share in (("p50", 0.5), ("p95", 0.95)):
                values = [quantile(one, share) for one in sets]
                metrics[f"{name}_{label}_ms"] = metric("ms", "lower", values)
    return {"params": {"step_runs": bench.rows, "requests": count}, "metrics": metrics}


def _fill(bench: Bench, tenant: TestTenant) -> None:
    [(workflow, version)] = bench.system.sql(VERSION, tenant.id, "import")
    total = max(1, bench.rows // STEPS)
    given = {"tenant": tenant.id, "workflow": workflow, "version": version, "steps": STEPS}
    given["apart"] = 30 * 86_400 / total
    with psycopg.connect(bench.system.env["SYSTEM_DATABASE_URL"], autocommit=True) as connection:
        for first in range(1, total + 1, CHUNK_RUNS):
            last = min(total, first + CHUNK_RUNS - 1)
            connection.execute(FILL, {**given, "first": first, "last": last})
        rng = Random(1)
        values = [rng.lognormvariate(-2.0, 1.0) for _ in range(5000)]
        sketch = TDigest.from_values(values, max_centroids=CENTROIDS).to_bytes()
        connection.execute(ROLLUPS, {"tenant": tenant.id, "sketch": sketch})
        connection.execute("ANALYZE run, step_run, rollup")


def _sign_in(browser: httpx.Client, user: dict[str, str]) -> None:
    page = browser.get("/login")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    form = {"username": user["name"], "password": user["password"]}
    if token is None:
        raise Wrong("the login page has no form")
    answer = browser.post("/login", data={**form, "csrfmiddlewaretoken": token[1]})
    if answer.status_code != 302:
        raise Wrong(f"the login was answered {answer.status_code}")


def _fetched(browser: httpx.Client, address: str, count: int) -> list[float]:
    """Milliseconds of so many requests."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        answer = browser.get(address)
        found.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise Wrong(f"{address} was answered {answer.status_code}")
    return found
