"""What the clock does to the database: each duty one statement."""

from __future__ import annotations

from uuid import UUID

from orchestrator.store.connect import Connection


def due(connection: Connection, *, limit: int = 1000) -> list[str]:
    """Make step runs whose wait is over ready, and begin runs whose time has come; queues to wake."""
    queues = _texts(connection, "SELECT engine_due(%s::int)", limit)
    return queues + _texts(connection, "SELECT engine_start_due(%s::int)", limit)


def expire(connection: Connection, *, limit: int = 200) -> int:
    """Close runs past their timeout or deadline; answers how many."""
    return _number(connection, "SELECT engine_expire(%s::int)", limit)


def tend_caches(connection: Connection, *, limit: int = 1000) -> int:
    """Remove expired outputs, and settle keys whose waiting steps nobody serves; how much changed."""
    return _number(connection, "SELECT engine_cache_tend(%s::int)", limit)


def trim_caches(connection: Connection, *, most: int) -> int:
    """Remove what a tenant keeps beyond so many outputs; answers how many."""
    return _number(connection, "SELECT engine_cache_trim(%s::int)", most)


def drop_outputs(connection: Connection, *, limit: int = 20) -> int:
    """Drop the steps' outputs of runs that nobody needs any more; answers of how many runs."""
    return _number(connection, "SELECT engine_drop_outputs(%s::int)", limit)


def unserved(connection: Connection, *, lease_s: float) -> list[str]:
    """Set aside steps that no live worker can run, take back those that one can; queues to wake."""
    return _texts(connection, "SELECT engine_unserved(%s::float8)", lease_s)


def eligible(connection: Connection, *, lease_s: float) -> list[str]:
    """The queues with work that could run now."""
    return _texts(connection, "SELECT engine_eligible(%s::float8)", lease_s)


def reconcile(connection: Connection) -> int:
    """Compare every count with the rows it counts, tenant by tenant; answers how many were wrong."""
    tenants = [row[0] for row in connection.execute("SELECT tenant_id FROM tenant_load ORDER BY 1")]
    wrong = sum(
        _number(connection, "SELECT engine_reconcile(%s::int)", tenant) for tenant in tenants
    )
    return wrong + _number(connection, "SELECT engine_reconcile_total()")


def _texts(connection: Connection, statement: str, *params: object) -> list[str]:
    row = connection.execute(statement, params).fetchone()
    return list(row[0]) if row else []


def _number(connection: Connection, statement: str, *params: object) -> int:
    row = connection.execute(statement, params).fetchone()
    return int(row[0]) if row else 0


LOCK_SPACE = 0x4D53
"""First key of the duties' advisory locks; the second is the hash of the duty's name."""


def lock_duty(connection: Connection, name: str) -> bool:
    """Take a duty for this session: of any number of clocks one does it."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(%s::int, hashtext(%s::text))", (LOCK_SPACE, name)
    ).fetchone()
    return bool(row and row[0])


def tick(
    connection: Connection, name: str, *, interval_ms: int, ticks: int, changed: int, error: str
) -> None:
    """Write down that a duty was done."""
    connection.execute(
        "INSERT INTO duty (name, interval_ms, ticked_at, tick_count, changed_count, error)"
        " VALUES (%s, %s, clock_timestamp(), %s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET interval_ms = excluded.interval_ms, ticked_at = excluded.ticked_at,"
        " tick_count = duty.tick_count + excluded.tick_count,"
        " changed_count = duty.changed_count + excluded.changed_count, error = excluded.error",
        (name, interval_ms, ticks, changed, error),
    )


def positions(connection: Connection) -> dict[int, int]:
    """Every tenant's last event position."""
    return dict(connection.execute("SELECT tenant_id, seq FROM tenant_load").fetchall())


def touched_runs(
    connection: Connection, *, tenant_id: int, after: int, upto: int, limit: int
) -> list[UUID]:
    """The runs that a tenant's events (after, upto] tell of, at most so many."""
    rows = connection.execute(
        "SELECT DISTINCT run_id FROM event WHERE tenant_id = %s::int AND seq > %s::bigint AND seq <= %s::bigint"
        " AND run_id IS NOT NULL LIMIT %s::int",
        (tenant_id, after, upto, limit),
    )
    return [row[0] for row in rows.fetchall()]


def make_partitions(connection: Connection, *, days_ahead: int) -> int:
    """Make the event partitions of today and the next days; answers how many were new."""
    return _number(connection, "SELECT engine_event_partitions(%s::int)", days_ahead)


def drop_partitions(connection: Connection, *, days: int) -> int:
    """Drop event partitions whose newest event is older than so many days; answers how many."""
    return _number(connection, "SELECT engine_drop_event_partitions(%s::int)", days)


def forget_runs(connection: Connection, *, days: int, limit: int) -> int:
    """Delete runs that ended so many days ago, children first, at most so many; answers how many."""
    return _number(connection, "SELECT engine_forget_runs(%s::int, %s::int)", days, limit)
