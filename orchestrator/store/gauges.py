"""Looks at the whole server, for health checks and metrics: no locks, bounded, by index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.models.metrics import COUNTS
from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"
_BACKLOG = (_FOLDER / "backlog.sql").read_bytes()

_SERVER = """
SELECT (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8
          FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int, current_setting('server_version')
"""
_NO_WORKER = """
SELECT DISTINCT queue FROM (
    SELECT queue FROM step_run WHERE state = 'ready' AND parked = 'no_worker' LIMIT 1000) s
 ORDER BY 1
"""
_USE = """
SELECT (SELECT amount FROM server_load WHERE slot = -1) - (SELECT sum(amount) FROM server_load WHERE slot >= 0),
       (SELECT max_connections FROM server_load WHERE slot = -1)
"""
_WORKERS = """
SELECT name, state, queues, in_flight, refused_count,
       extract(epoch FROM clock_timestamp() - seen_at)::float8
  FROM worker WHERE state <> 'gone' ORDER BY id
"""
_REFUSED = "SELECT coalesce(sum(refused_count), 0)::bigint FROM worker"
_DUTIES = """
SELECT name, interval_ms / 1000.0::float8,
       extract(epoch FROM clock_timestamp() - ticked_at)::float8, tick_count, changed_count, error
  FROM duty ORDER BY name
"""
_TOTALS = f"""
SELECT t.id, t.slug, coalesce(l.in_use, 0), q.max_connections, coalesce(l.ready_count, 0), coalesce(l.seq, 0),
       coalesce(c.seq, 0), {", ".join(f"coalesce(c.{name}, 0)" for name in COUNTS)}
  FROM tenant t
  JOIN quota q ON q.tenant_id = t.id
  LEFT JOIN tenant_load l ON l.tenant_id = t.id
  LEFT JOIN rollup_cursor c ON c.tenant_id = t.id
 ORDER BY t.id
"""  # noqa: S608  (column names of a model, nothing from outside)
_RECENT = """
SELECT t.slug, r.queue_sketch, r.attempt_sketch, r.run_sketch
  FROM rollup r JOIN tenant t ON t.id = r.tenant_id
 WHERE r.width_s = 10 AND r.workflow_id = 0 AND r.at >= now() - make_interval(secs => %s)
"""


_POOLS = """
SELECT coalesce(t.slug, ''), p.name, p.in_use, p.max_places
  FROM pool p LEFT JOIN tenant t ON t.id = p.tenant_id
 ORDER BY p.in_use DESC, p.id LIMIT %s
"""
_BREAKERS = """
SELECT t.slug, count(*) FROM breaker b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.state <> 'closed' GROUP BY t.slug ORDER BY t.slug
"""


@dataclass(frozen=True, slots=True)
class PoolGauge:
    """A pool's use; `slug` is empty for the server's."""

    slug: str
    name: str
    in_use: int
    limit: int


@dataclass(frozen=True, slots=True)
class Server:
    """The database: age of its oldest snapshot in seconds, client connections and their limit."""

    oldest_snapshot_s: float
    connections: int
    max_connections: int
    version: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """A tenant's ready steps; `oldest_s`: how long the foremost waits; `room`: it could start."""

    tenant_id: int
    ready: int
    room: bool
    oldest_s: float


@dataclass(frozen=True, slots=True)
class WorkerGauge:
    """A process that runs steps; `silent_s`: since its last sign of life."""

    name: str
    state: str
    queues: list[str]
    in_flight: int
    refused: int
    silent_s: float


@dataclass(frozen=True, slots=True)
class DutyGauge:
    """A duty of the clock; `silent_s`: since it last wrote down a tick (None: never)."""

    name: str
    interval_s: float
    silent_s: float | None
    ticks: int
    changed: int
    error: str


@dataclass(frozen=True, slots=True)
class TenantTotals:
    """A tenant's gauges, and its counters since the beginning, by the names of the model."""

    tenant_id: int
    slug: str
    in_use: int
    max_connections: int
    ready: int
    seq: int
    counted_seq: int
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class RecentSketches:
    """Sketches of one tenant's 10 s: queue latency, attempts, runs; None where there is none."""

    slug: str
    sketches: tuple[bytes | None, ...]


def bound(connection: Connection, seconds: float) -> None:
    """Let no later statement of this connection take longer."""
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false)", (f"{int(seconds * 1000)}ms",)
    )


def ready(connection: Connection) -> bool:
    """Whether the database answers and has the tables and functions of the engine."""
    row = connection.execute(
        "SELECT to_regclass('tenant_load') IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM pg_proc WHERE proname = 'engine_submit')"
    ).fetchone()
    return bool(row and row[0])


def server(connection: Connection) -> Server:
    """How the database itself is."""
    return Server(*_one(connection, _SERVER))


def use(connection: Connection) -> tuple[int, int]:
    """Connections of the server in use, and their limit."""
    in_use, limit = _one(connection, _USE)
    return max(int(in_use), 0), int(limit)


def backlog(connection: Connection) -> list[Backlog]:
    """Tenants with ready steps."""
    return [Backlog(*row) for row in _all(connection, _BACKLOG)]


def unserved_queues(connection: Connection) -> list[str]:
    """Queues with ready steps that no live worker can run."""
    return [row[0] for row in _all(connection, _NO_WORKER)]


def workers(connection: Connection) -> list[WorkerGauge]:
    """The processes that run steps, but for those that are gone."""
    return [WorkerGauge(*row) for row in _all(connection, _WORKERS)]


def refused(connection: Connection) -> int:
    """Late results of earlier claims that were refused, since the beginning."""
    return int(_one(connection, _REFUSED)[0])


def duties(connection: Connection) -> list[DutyGauge]:
    """The clock's duties."""
    return [DutyGauge(*row) for row in _all(connection, _DUTIES)]


def totals(connection: Connection) -> list[TenantTotals]:
    """Every tenant's gauges and counters."""
    return [
        TenantTotals(*(*row[:7], dict(zip(COUNTS, row[7:], strict=True))))
        for row in _all(connection, _TOTALS)
    ]


def pools(connection: Connection, limit: int) -> list[PoolGauge]:
    """Pools with their use, those with the most first."""
    rows = psycopg.Cursor(connection).execute(_POOLS, (limit,)).fetchall()
    return [PoolGauge(*row) for row in rows]


def breakers(connection: Connection) -> dict[str, int]:
    """By tenant, how many hosts are held off."""
    return dict(_all(connection, _BREAKERS))


def recent(connection: Connection, seconds: float) -> list[RecentSketches]:
    """The sketches of the last `seconds`, a row per tenant and 10 s."""
    rows = psycopg.Cursor(connection).execute(_RECENT, (seconds,), binary=True).fetchall()
    return [RecentSketches(row[0], tuple(row[1:])) for row in rows]


def _all(connection: Connection, statement: str | bytes) -> list[tuple[Any, ...]]:
    return psycopg.Cursor(connection).execute(statement).fetchall()


def _one(connection: Connection, statement: str) -> tuple[Any, ...]:
    return _all(connection, statement)[0]
