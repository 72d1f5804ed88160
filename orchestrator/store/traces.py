"""What spans are made of: events of traced runs, and how far they have been sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection

WINDOW = 20_000
"""Positions of a tenant that are looked at once."""
AT_ONCE = 2_000
"""Events of traced runs that are taken at once."""
OLDEST_S = 3600.0
"""Events that are older are passed over: whoever collects spans was away for too long."""

# A tenant without a cursor is new: its first events are traced.  Where not even nobody's (0) is there,
# tracing was just switched on, and what happened before was not traced.
CURSORS = """
INSERT INTO trace_cursor (tenant_id, seq)
SELECT l.tenant_id, CASE WHEN EXISTS (SELECT 1 FROM trace_cursor WHERE tenant_id = 0) THEN 0 ELSE l.seq END
  FROM tenant_load l WHERE NOT EXISTS (SELECT 1 FROM trace_cursor c WHERE c.tenant_id = l.tenant_id)
 UNION ALL
SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM trace_cursor WHERE tenant_id = 0)
ON CONFLICT DO NOTHING
"""
BEHIND = """
SELECT c.tenant_id, c.seq, l.seq, t.slug
  FROM trace_cursor c JOIN tenant_load l ON l.tenant_id = c.tenant_id JOIN tenant t ON t.id = c.tenant_id
 WHERE l.seq > c.seq ORDER BY c.tenant_id
"""
EVENTS = """
SELECT e.seq, e.at, e.type, e.run_id, e.ordinal, e.batch, e.attempt, e.worker_id, e.data,
       r.trace, r.version_id, r.created_at
  FROM event e
  JOIN run r ON r.id = e.run_id AND r.tenant_id = e.tenant_id AND r.trace IS NOT NULL
 WHERE e.tenant_id = %(tenant_id)s AND e.seq > %(after)s AND e.seq <= %(upto)s
   AND e.at > clock_timestamp() - %(oldest_s)s * interval '1 second'
 ORDER BY e.seq LIMIT %(limit)s
"""
MOVE = "UPDATE trace_cursor SET seq = %s WHERE tenant_id = %s"
NAMES = """
SELECT v.id, w.name, v.version, array(SELECT s.name FROM version_step s WHERE s.version_id = v.id ORDER BY s.ordinal)
  FROM workflow_version v JOIN workflow w ON w.id = v.workflow_id WHERE v.id = ANY (%s::bigint[])
"""
WORKERS = "SELECT id, name FROM worker WHERE id = ANY (%s::int[])"
BEFORE = """
SELECT e.at, e.type, e.attempt, e.worker_id, e.data FROM event e
 WHERE e.run_id = %(run_id)s AND e.tenant_id = %(tenant_id)s AND e.ordinal = %(ordinal)s AND e.batch = %(batch)s
   AND e.seq < %(before)s AND e.type IN ('step.ready', 'step.running')
 ORDER BY e.seq LIMIT 1000
"""


class Behind(NamedTuple):
    """A tenant with events from which no spans were sent."""

    tenant_id: int
    cursor: int
    last: int
    slug: str


class TracedEvent(NamedTuple):
    """An event of a traced run.  `data` is JSON text."""

    seq: int
    at: datetime
    type: str
    run_id: UUID
    ordinal: int | None
    batch: int | None
    attempt: int | None
    worker_id: int | None
    data: str | None
    trace: str
    version_id: int
    created_at: datetime


class Begun(NamedTuple):
    """An earlier event that began a step or an attempt."""

    at: datetime
    type: str
    attempt: int | None
    worker_id: int | None
    data: str | None


class Names(NamedTuple):
    """What a version is called, and its steps by ordinal."""

    workflow: str
    version: int
    steps: Sequence[str]


def behind(connection: Connection) -> list[Behind]:
    """The tenants whose events have gone on since spans were sent."""
    connection.execute(CURSORS)
    return [Behind(*row) for row in connection.execute(BEHIND).fetchall()]


def events(
    connection: Connection, tenant: Behind, *, limit: int = AT_ONCE
) -> tuple[list[TracedEvent], int]:
    """The next events of traced runs, and up to which position they were looked for."""
    upto = min(tenant.last, tenant.cursor + WINDOW)
    values = {
        "tenant_id": tenant.tenant_id,
        "after": tenant.cursor,
        "upto": upto,
        "oldest_s": OLDEST_S,
        "limit": limit,
    }
    found = [TracedEvent(*row) for row in connection.execute(EVENTS, values).fetchall()]
    return found, found[-1].seq if len(found) == limit else upto


def move(connection: Connection, tenant_id: int, seq: int) -> None:
    """The spans up to this position have been sent."""
    connection.execute(MOVE, (seq, tenant_id))


def names(connection: Connection, version_ids: Collection[int]) -> dict[int, Names]:
    """What these versions are called."""
    rows = connection.execute(NAMES, (list(version_ids),)).fetchall()
    return {row[0]: Names(*row[1:]) for row in rows}


def workers(connection: Connection, worker_ids: Collection[int]) -> dict[int, str]:
    """The names of these workers."""
    return dict(connection.execute(WORKERS, (list(worker_ids),)).fetchall())


def before(connection: Connection, tenant_id: int, event: TracedEvent) -> list[Begun]:
    """What began the step of an event, and its attempts, before it: for who has not seen that himself."""
    values = {
        "tenant_id": tenant_id,
        "run_id": event.run_id,
        "ordinal": event.ordinal,
        "batch": event.batch,
        "before": event.seq,
    }
    return [Begun(*row) for row in connection.execute(BEFORE, values).fetchall()]
