"""Worker processes: their rows, their locks, and the handlers that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from orchestrator.store.connect import Connection

LOCK_SPACE = 0x4D52
"""First key of the workers' advisory locks; the second is the worker's id."""

REGISTER_HANDLERS = """
INSERT INTO handler (name, queue, timeout_ms, kind, batch, signature, seen_at)
SELECT h.*, clock_timestamp()
  FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::bool[], %s::jsonb[]) AS h
 ORDER BY 1
ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, timeout_ms = excluded.timeout_ms,
    kind = excluded.kind, batch = excluded.batch, signature = excluded.signature, seen_at = excluded.seen_at
RETURNING name, id
"""
REGISTER = """
INSERT INTO worker (name, host, pid, queues, handler_ids, state, locked, in_flight)
VALUES (%s, %s, %s, %s::text[], %s::int[], 'active', false, 0) RETURNING id
"""
RENEW = """
UPDATE worker SET seen_at = clock_timestamp(), in_flight = %s::int, locked = true, missing_at = NULL,
       state = CASE WHEN drain_at IS NULL THEN %s::text ELSE 'draining' END
 WHERE id = %s::int AND state <> 'gone' RETURNING drain_at IS NOT NULL
"""
STRAYS = """
SELECT tenant_id, run_id, ordinal, batch, epoch FROM step_run
 WHERE state = 'running' AND worker_id = %s::int AND started_at < clock_timestamp() - interval '5 seconds'
"""
SUSPECTS = """
SELECT w.id FROM worker w
 WHERE w.state <> 'gone'
   AND (w.seen_at < clock_timestamp() - %(lease)s::float8 * interval '1 second'
        OR w.locked
           AND pg_postmaster_start_time() < clock_timestamp() - interval '15 seconds'
           AND NOT EXISTS (
                SELECT 1 FROM pg_locks k
                 WHERE k.locktype = 'advisory' AND k.granted AND k.classid = %(space)s AND k.objid = w.id
                   AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())))
 ORDER BY w.id
"""


@dataclass(frozen=True, slots=True)
class HandlerRow:
    """A handler as a worker registers it."""

    name: str
    queue: str | None
    timeout: timedelta | None
    kind: str
    batch: bool
    signature: dict[str, object]


def register_handlers(connection: Connection, handlers: Sequence[HandlerRow]) -> dict[str, int]:
    """Write what this process has; answers each name's id."""
    rows = connection.execute(
        REGISTER_HANDLERS,
        (
            [h.name for h in handlers],
            [h.queue for h in handlers],
            [
                None if h.timeout is None else round(h.timeout.total_seconds() * 1000)
                for h in handlers
            ],
            [h.kind for h in handlers],
            [h.batch for h in handlers],
            [Jsonb(h.signature) for h in handlers],
        ),
    )
    return {str(name): int(number) for name, number in rows.fetchall()}


def register(
    connection: Connection,
    *,
    name: str,
    host: str,
    pid: int,
    queues: Sequence[str],
    handler_ids: Sequence[int],
) -> int:
    """A new worker's row; answers its id.  Its lock must be taken before `renew` says it is held."""
    row = connection.execute(
        REGISTER, (name, host, pid, list(queues), list(handler_ids))
    ).fetchone()
    assert row is not None
    return int(row[0])


def lock(connection: Connection, worker_id: int) -> bool:
    """Take the worker's advisory lock for this session."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(%s::int, %s::int)", (LOCK_SPACE, worker_id)
    ).fetchone()
    return bool(row and row[0])


def renew(connection: Connection, worker_id: int, *, in_flight: int, draining: bool) -> bool | None:
    """Renew the lease; answers whether staff want it to drain.  None: the row is gone, and with it
    everything that this worker held."""
    state = "draining" if draining else "active"
    row = connection.execute(RENEW, (in_flight, state, worker_id)).fetchone()
    return None if row is None else bool(row[0])


def charge(connection: Connection, worker_id: int) -> None:
    """Charge the tenants for steps that run longer than was charged when they were claimed."""
    connection.execute("SELECT engine_charge(%s::int)", (worker_id,))


def strays(connection: Connection, worker_id: int) -> list[tuple[int, UUID, int, int, int]]:
    """Steps under this worker's name, claimed over 5 s ago: (tenant, run, ordinal, batch, epoch)."""
    return connection.execute(STRAYS, (worker_id,)).fetchall()


def suspects(connection: Connection, *, lease_s: float) -> list[int]:
    """Workers whose lock is free although it was held, or whose lease is too old."""
    rows = connection.execute(SUSPECTS, {"lease": lease_s, "space": LOCK_SPACE})
    return [int(row[0]) for row in rows.fetchall()]


def reap(connection: Connection, worker_id: int) -> tuple[int, list[str]]:
    """A worker is dead: its steps are lost and run again.  Answers how many, and the queues to wake."""
    row = connection.execute("SELECT lost, wake FROM engine_reap(%s::int)", (worker_id,)).fetchone()
    return (int(row[0]), list(row[1] or ())) if row else (0, [])


def work_waits(connection: Connection) -> bool:
    """Whether any tenant has something ready: asked once a second by an idle process."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM tenant_load WHERE ready_count > 0 OR control_count > 0)"
    ).fetchone()
    return bool(row and row[0])
