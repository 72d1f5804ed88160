"""Looks at the whole server, for health checks and metrics: no locks, bounded, by index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.models.metrics import COUNTS, MEASURES
from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"
_BACKLOG = (_FOLDER / "backlog.sql").read_bytes()

_SERVER = """
SELECT (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8
          FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::int, current_setting('server_version')
"""
# At most 1,000 of them are read.  Index: step_run's of what is parked.
_NO_WORKER = """
SELECT s.queue, coalesce(h.name, 'a handler'), t.slug, count(*) FROM (
    SELECT queue, handler_id, tenant_id FROM step_run
     WHERE state = 'ready' AND parked = 'no_worker' LIMIT 1000) s
  JOIN tenant t ON t.id = s.tenant_id
  LEFT JOIN handler h ON h.id = s.handler_id
 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3
"""
# The twenty tenants with most events that are not counted; index: event's key.
_OUTBOX = """
SELECT coalesce(sum(b.behind), 0)::bigint,
       coalesce(extract(epoch FROM clock_timestamp() - min(e.at)), 0)::float8
  FROM (SELECT l.tenant_id, coalesce(c.seq, 0) AS counted, l.seq - coalesce(c.seq, 0) AS behind,
               row_number() OVER (ORDER BY l.seq - coalesce(c.seq, 0) DESC) AS nr
          FROM tenant_load l LEFT JOIN rollup_cursor c ON c.tenant_id = l.tenant_id
         WHERE l.seq > coalesce(c.seq, 0)) b
  LEFT JOIN LATERAL (
       SELECT o.at FROM event o
        WHERE b.nr <= 20 AND o.tenant_id = b.tenant_id AND o.seq > b.counted
        ORDER BY o.seq LIMIT 1) e ON true
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
_TENANTS = """
SELECT t.id, t.slug, coalesce(l.in_use, 0), q.max_connections, coalesce(l.ready_count, 0), coalesce(l.seq, 0),
       coalesce(c.seq, 0), coalesce(l.active_runs, 0), coalesce(c.own, false)
  FROM tenant t
  JOIN quota q ON q.tenant_id = t.id
  LEFT JOIN tenant_load l ON l.tenant_id = t.id
  LEFT JOIN rollup_cursor c ON c.tenant_id = t.id
 WHERE NOT t.is_system
 ORDER BY t.id
"""
COUNTED = (*COUNTS, "connection_waits", "connection_wait_s")
# Those with labels of their own, and the others together (tenant 0); or one tenant, whose cursor has all
# that it ever did.
_SINCE_BEGINNING = f"""
SELECT t.slug, {", ".join(f"c.{measure}_histogram, c.{measure}_sum_s" for measure in MEASURES)},
       {", ".join(f"c.{name}" for name in COUNTED)}
  FROM rollup_cursor c LEFT JOIN tenant t ON t.id = c.tenant_id
 WHERE CASE WHEN %(only)s::text IS NULL THEN c.tenant_id = 0 OR c.own AND t.id IS NOT NULL ELSE t.slug = %(only)s END
"""  # noqa: S608  (column names of a model, nothing from outside)


_POOLS = """
SELECT coalesce(t.slug, ''), p.name, p.in_use, p.max_places
  FROM pool p LEFT JOIN tenant t ON t.id = p.tenant_id
 WHERE %(only)s::text IS NULL OR t.slug = %(only)s
 ORDER BY p.in_use DESC, p.id LIMIT %(limit)s
"""
_BREAKERS = """
SELECT t.slug, count(*) FROM breaker b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.state <> 'closed' GROUP BY t.slug ORDER BY t.slug
"""


# The last whole minute.  Index: usage_age.
_SHARES = """
SELECT u.tenant_id, t.slug, u.entitled_s, u.received_s
  FROM usage u JOIN tenant t ON t.id = u.tenant_id
 WHERE u.width_s = 60 AND u.at = date_trunc('minute', now()) - interval '1 minute'
"""


@dataclass(frozen=True, slots=True)
class ShareGauge:
    """Seconds of connections of a minute: what was a tenant's due, and what it held."""

    tenant_id: int
    slug: str
    entitled_s: float
    received_s: float


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
class Unserved:
    """Ready steps of a tenant that no live worker can run."""

    queue: str
    handler: str
    slug: str
    steps: int


@dataclass(frozen=True, slots=True)
class Outbox:
    """Events that are not counted yet, and how old the oldest of them is."""

    events: int
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
class TenantGauges:
    """A tenant now.  `own`: it has a label of its own; `counted_seq`: how far its events are counted."""

    tenant_id: int
    slug: str
    in_use: int
    max_connections: int
    ready: int
    seq: int
    counted_seq: int
    active_runs: int
    own: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """What was counted since the beginning of a tenant (`slug` None: of all without a label).

    `counts` by the names of COUNTED; `histograms` by measure: how many values were at most each bound
    and at all (empty: none was measured yet), and their sum."""

    slug: str | None
    counts: dict[str, float]
    histograms: dict[str, tuple[list[int], float]]


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


def unserved(connection: Connection) -> list[Unserved]:
    """Ready steps that no live worker can run, most first."""
    return [Unserved(*row) for row in _all(connection, _NO_WORKER)]


def outbox(connection: Connection) -> Outbox:
    """How far counting is behind."""
    return Outbox(*_one(connection, _OUTBOX))


def workers(connection: Connection) -> list[WorkerGauge]:
    """The processes that run steps, but for those that are gone."""
    return [WorkerGauge(*row) for row in _all(connection, _WORKERS)]


def drained(connection: Connection) -> int:
    """Live worker processes that staff told to take nothing more."""
    statement = "SELECT count(*) FROM worker WHERE state <> 'gone' AND drain_at IS NOT NULL"
    return int(_one(connection, statement)[0])


def refused(connection: Connection) -> int:
    """Late results of earlier claims that were refused, since the beginning."""
    return int(_one(connection, _REFUSED)[0])


def duties(connection: Connection) -> list[DutyGauge]:
    """The clock's duties."""
    return [DutyGauge(*row) for row in _all(connection, _DUTIES)]


def tenants(connection: Connection) -> list[TenantGauges]:
    """Every tenant's gauges."""
    return [TenantGauges(*row) for row in _all(connection, _TENANTS)]


def totals(connection: Connection, only: str | None = None) -> list[Totals]:
    """The totals of the tenants with labels of their own, and of the others together; or of the one
    tenant with this slug."""
    first = 1 + 2 * len(MEASURES)
    rows = psycopg.Cursor(connection).execute(_SINCE_BEGINNING, {"only": only}).fetchall()
    return [
        Totals(
            row[0],
            dict(zip(COUNTED, row[first:], strict=True)),
            dict(zip(MEASURES, zip(row[1:first:2], row[2:first:2], strict=True), strict=True)),
        )
        for row in rows
    ]


def pools(connection: Connection, limit: int, only: str | None = None) -> list[PoolGauge]:
    """Pools with their use, those with the most first; `only`: of the tenant with this slug."""
    params = {"limit": limit, "only": only}
    rows = psycopg.Cursor(connection).execute(_POOLS, params).fetchall()
    return [PoolGauge(*row) for row in rows]


def shares(connection: Connection) -> list[ShareGauge]:
    """What tenants were due and got in the last whole minute."""
    return [ShareGauge(*row) for row in connection.execute(_SHARES).fetchall()]


def breakers(connection: Connection) -> dict[str, int]:
    """By tenant, how many hosts are held off."""
    return dict(_all(connection, _BREAKERS))


_ALERTS = """
SELECT coalesce(t.slug, '-'), a.severity,
       CASE WHEN a.muted_by IS NOT NULL AND a.state <> 'pending' THEN 'silenced' ELSE a.state END, count(*)
  FROM alert a LEFT JOIN tenant t ON t.id = a.tenant_id
 WHERE a.state IN ('acknowledged', 'firing', 'pending') GROUP BY 1, 2, 3
"""
_NOTIFICATIONS = "SELECT kind, outcome, count FROM notification_total"
_UNSENT = """
SELECT count(*), coalesce(extract(epoch FROM max(clock_timestamp() - next_at)), 0)::float8
  FROM notification WHERE state IN ('collecting', 'sending') AND next_at <= clock_timestamp()
"""


def alerts(connection: Connection) -> list[tuple[str, str, str, int]]:
    """Open alerts by tenant (`-`: the server), severity and state (or `silenced`)."""
    return [(row[0], row[1], row[2], int(row[3])) for row in _all(connection, _ALERTS)]


def notifications(connection: Connection) -> list[tuple[str, str, int]]:
    """Messages that ended since the beginning, by kind of channel and outcome."""
    return [(row[0], row[1], int(row[2])) for row in _all(connection, _NOTIFICATIONS)]


def unsent(connection: Connection) -> tuple[int, float]:
    """Messages that are due and not sent, and for how many seconds the oldest of them is."""
    count, oldest = _one(connection, _UNSENT)
    return int(count), float(oldest)


def _all(connection: Connection, statement: str | bytes) -> list[tuple[Any, ...]]:
    return psycopg.Cursor(connection).execute(statement).fetchall()


def _one(connection: Connection, statement: str) -> tuple[Any, ...]:
    return _all(connection, statement)[0]
