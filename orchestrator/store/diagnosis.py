"""Deeper looks at the database, for the doctor: statistics, locks, counts.  Bounded, without locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"
_LOCKS, _SNAPSHOTS, _VACUUM, _BLOAT = (
    (_FOLDER / f"doctor_{name}.sql").read_bytes()
    for name in ("locks", "snapshots", "vacuum", "bloat")
)
_SETTINGS = """
SELECT name, setting FROM pg_settings
 WHERE name IN ('autovacuum', 'track_counts', 'fsync', 'full_page_writes', 'synchronous_commit', 'server_version_num')
"""
_SIZE = """
SELECT pg_database_size(current_database()),
       (SELECT d.bytes FROM database_size d WHERE d.at > now() - interval '7 days' ORDER BY d.at LIMIT 1),
       (SELECT extract(epoch FROM now() - d.at)::float8 FROM database_size d
         WHERE d.at > now() - interval '7 days' ORDER BY d.at LIMIT 1)
"""
_LARGEST = """
SELECT c.relname::text, pg_total_relation_size(c.oid) AS bytes FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY 2 DESC LIMIT 3
"""
# One statement sees one moment, and who changes the rows changes the counts in the same transaction.
# Index: step_run_running.
_LEAKS = """
WITH held AS (
    SELECT x.tenant_id, count(*) AS n FROM (
        SELECT tenant_id FROM step_run WHERE state = 'running'
        UNION ALL SELECT tenant_id FROM hold) x GROUP BY x.tenant_id
)
SELECT t.slug, l.in_use, coalesce(h.n, 0)
  FROM tenant_load l JOIN tenant t ON t.id = l.tenant_id LEFT JOIN held h ON h.tenant_id = l.tenant_id
 WHERE l.in_use <> coalesce(h.n, 0)
UNION ALL
SELECT '', c.said, c.held
  FROM (SELECT (SELECT sum(CASE WHEN slot = -1 THEN amount ELSE -amount END) FROM server_load) AS said,
               (SELECT coalesce(sum(in_use), 0) FROM tenant_load) AS held) c
 WHERE c.said <> c.held
 LIMIT 20
"""
_REPAIRED = "SELECT coalesce(sum(changed_count), 0)::bigint FROM duty WHERE name = 'reconcile'"
_PARTITIONS = """
SELECT (SELECT array_agg(to_char(d, 'YYYYMMDD')) FROM generate_series(
            (clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date + 1, '1 day') d
         WHERE to_regclass(%(table)s || '_' || to_char(d, 'YYYYMMDD')) IS NULL),
       (SELECT min(c.relname)::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = %(table)s::regclass AND c.relname ~ ('^' || %(table)s || '_[0-9]{8}$')
           AND c.relname < %(table)s || '_' || to_char((clock_timestamp() AT TIME ZONE 'UTC')::date - %(days)s::int - 1, 'YYYYMMDD'))
"""
_STRAY = "SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 10000) o"
_QUOTAS = """
SELECT t.slug, u.name, u.use, u.most
  FROM tenant t
  JOIN quota q ON q.tenant_id = t.id
  LEFT JOIN tenant_load l ON l.tenant_id = t.id
  LEFT JOIN storage s ON s.tenant_id = t.id
 CROSS JOIN LATERAL (VALUES
       ('max_active_runs', l.active_runs::bigint, q.max_active_runs::bigint),
       ('max_waiting_steps', l.ready_count::bigint, q.max_waiting_steps::bigint),
       ('max_storage_bytes', s.bytes, q.max_storage_bytes)) AS u (name, use, most)
 WHERE NOT t.is_system AND u.use >= u.most * %(share)s::float8
 ORDER BY u.use::float8 / greatest(u.most, 1) DESC, t.slug LIMIT 20
"""


@dataclass(frozen=True, slots=True)
class LockWait:
    """Somebody waits for a lock that another holds."""

    pid: int
    program: str
    waits_s: float
    statement: str
    holder: int
    holder_program: str
    holder_state: str
    holder_open_s: float
    holder_statement: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What old rows are kept for; `age_s` None: it is not known."""

    kind: str
    name: str
    who: str
    age_s: float | None
    transactions: int | None


@dataclass(frozen=True, slots=True)
class DeadRows:
    """A table with more old rows than there should be."""

    table: str
    live: int
    dead: int
    allowed: int
    vacuumed_s: float | None
    is_off: bool


@dataclass(frozen=True, slots=True)
class Bloat:
    """A table or an index that is larger than what is in it needs."""

    kind: str
    name: str
    bytes: int
    needed: int


@dataclass(frozen=True, slots=True)
class Size:
    """The database's size, and what it was at most a week ago."""

    bytes: int
    before: int | None
    before_s: float | None
    largest: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Leak:
    """A count of connections (of a tenant; slug "": of the server) beside what is held."""

    slug: str
    counted: int
    held: int


@dataclass(frozen=True, slots=True)
class Partitions:
    """Days of a table without a partition, the oldest one that is overdue, rows in the default one."""

    missing: tuple[str, ...]
    overdue: str | None
    stray: int


@dataclass(frozen=True, slots=True)
class FullQuota:
    """A limit of a tenant that is nearly used up."""

    slug: str
    name: str
    use: int
    most: int


def lock_waits(connection: Connection) -> list[LockWait]:
    """Who waits for whom, the longest first."""
    return [LockWait(*row) for row in _all(connection, _LOCKS)]


def snapshots(connection: Connection) -> list[Snapshot]:
    """What holds back the removal of old rows."""
    return [Snapshot(*row) for row in _all(connection, _SNAPSHOTS)]


def dead_rows(connection: Connection, *, least: int, ago_s: float) -> list[DeadRows]:
    """Tables with over `least` old rows, and twice what autovacuum lets be, that were not vacuumed for
    so long."""
    return [DeadRows(*row) for row in _all(connection, _VACUUM, {"least": least, "ago": ago_s})]


def bloat(connection: Connection, *, least: int, share: float) -> list[Bloat]:
    """Tables and indexes of which at least so many bytes, and this share, are air (an estimate)."""
    return [Bloat(*row) for row in _all(connection, _BLOAT, {"least": least, "share": share})]


def settings(connection: Connection) -> dict[str, str]:
    """PostgreSQL's settings that matter, by name."""
    return dict(_all(connection, _SETTINGS))


def size(connection: Connection) -> Size:
    """How large the database is, and what it was."""
    now, before, before_s = _all(connection, _SIZE)[0]
    return Size(now, before, before_s, tuple(_all(connection, _LARGEST)))


def leaks(connection: Connection) -> list[Leak]:
    """Counts of connections that are wrong."""
    return [Leak(slug, int(said), int(held)) for slug, said, held in _all(connection, _LEAKS)]


def repaired(connection: Connection) -> int:
    """How many counts the reconciler has mended since the beginning."""
    return int(_all(connection, _REPAIRED)[0][0])


def partitions(connection: Connection, *, table: str, days: int) -> Partitions:
    """How a table's daily partitions are, where its rows are kept for so many days."""
    missing, overdue = _all(connection, _PARTITIONS, {"table": table, "days": days})[0]
    other = sql.SQL(_STRAY).format(sql.Identifier(f"{table}_other")).as_string(connection)
    return Partitions(tuple(missing or ()), overdue, int(_all(connection, other)[0][0]))


def full_quotas(connection: Connection, *, share: float) -> list[FullQuota]:
    """Limits of which at least this share is used."""
    return [FullQuota(*row) for row in _all(connection, _QUOTAS, {"share": share})]


def vacuum(connection: Connection, tables: Sequence[str]) -> list[str]:
    """Remove these tables' old rows, beside whatever works on them; answers those that it was done for.

    The connection is the owner's, in autocommit.  A table that somebody holds is left."""
    done = []
    for table in tables:
        statement = sql.SQL("VACUUM (ANALYZE, SKIP_LOCKED) {}").format(sql.Identifier(table))
        connection.execute(statement)
        done.append(table)
    return done


def _all(
    connection: Connection, statement: str | bytes, params: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """By a cursor that binds on the server (Django's connections bind on the client)."""
    return psycopg.Cursor(connection).execute(statement, params).fetchall()
