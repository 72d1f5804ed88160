"""What the clock does to the database: each duty one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from orchestrator.store.connect import Connection

FOLLOW_LIMITS = """
SELECT tenant_role_limit(q.tenant_id, q.max_connections)
  FROM quota q
 CROSS JOIN (SELECT 'millrace_' || oid || '_t_' AS prefix FROM pg_database WHERE datname = current_database()) d
  JOIN pg_roles r ON r.rolname = d.prefix || q.tenant_id
 WHERE r.rolconnlimit <> q.max_connections
"""


def due(connection: Connection, *, limit: int = 1000) -> list[str]:
    """Make step runs whose wait is over ready, and begin runs whose time has come; queues to wake."""
    queues = _texts(connection, "SELECT engine_due(%s::int)", limit)
    return queues + _texts(connection, "SELECT engine_start_due(%s::int)", limit)


def expire(connection: Connection, *, limit: int = 200) -> int:
    """Close runs past their timeout or deadline, cut off what runs on long after; answers how many.

    Two transactions: each locks the tenants that it needs in the order of their ids."""
    closed = _number(connection, "SELECT engine_expire(%s::int)", limit)
    return closed + _number(connection, "SELECT engine_cut_off(%s::int)", limit)


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
    """Set aside steps that no live worker can run, take back those that one can, let others pass those
    that wait for full pools; queues to wake.

    A transaction each, as `expire`."""
    queues = _texts(connection, "SELECT engine_unserved(%s::float8)", lease_s)
    queues += _texts(connection, "SELECT engine_served_again(%s::float8)", lease_s)
    return queues + _texts(connection, "SELECT engine_pass_pools(%s::float8)", lease_s)


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


def lock_duties(connection: Connection, names: Sequence[str]) -> set[str]:
    """Take duties for this session, which holds none of them yet; which are its own now: of any number
    of clocks one does each."""
    rows = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE pg_try_advisory_lock(%s::int, hashtext(name))",
        (list(names), LOCK_SPACE),
    )
    return {row[0] for row in rows.fetchall()}


def unlock_duty(connection: Connection, name: str) -> None:
    """Give a duty back."""
    connection.execute("SELECT pg_advisory_unlock(%s::int, hashtext(%s::text))", (LOCK_SPACE, name))


class Tick(NamedTuple):
    """How often a duty was done since that was last written down, and how it went the last time."""

    name: str
    interval_ms: int
    ago_s: float
    ticks: int
    changed: int
    error: str


def note(connection: Connection, ticks: Sequence[Tick]) -> None:
    """Write down that duties were done."""
    connection.execute(
        "INSERT INTO duty (name, interval_ms, ticked_at, tick_count, changed_count, error)"
        " SELECT d.name, d.interval_ms, clock_timestamp() - make_interval(secs => d.ago_s), d.ticks, d.changed, d.error"
        " FROM unnest(%s::text[], %s::int[], %s::float8[], %s::bigint[], %s::bigint[], %s::text[])"
        " AS d (name, interval_ms, ago_s, ticks, changed, error)"
        " ON CONFLICT (name) DO UPDATE SET interval_ms = excluded.interval_ms, ticked_at = excluded.ticked_at,"
        " tick_count = duty.tick_count + excluded.tick_count,"
        " changed_count = duty.changed_count + excluded.changed_count, error = excluded.error",
        [list(column) for column in zip(*ticks, strict=True)],
    )


def forget_duties(connection: Connection, known: Sequence[str]) -> int:
    """Forget duties that are none of these and that no other clock does either; answers how many."""
    return connection.execute(
        "DELETE FROM duty WHERE name <> ALL (%s::text[])"
        " AND ticked_at < clock_timestamp() - (2 * interval_ms + 60000) * interval '1 millisecond'",
        (list(known),),
    ).rowcount


class DutyState(NamedTuple):
    """How a duty of the clock fares; `error` is empty where its last tick went well."""

    name: str
    interval_s: float
    silent_s: float
    error: str


def duty_states(connection: Connection, names: Sequence[str]) -> list[DutyState]:
    """Those of these duties that were ever done, by name."""
    rows = connection.execute(
        "SELECT name, interval_ms / 1000.0::float8,"
        " extract(epoch FROM clock_timestamp() - ticked_at)::float8, error"
        " FROM duty WHERE name = ANY (%s::text[]) AND ticked_at IS NOT NULL ORDER BY name",
        (list(names),),
    )
    return [DutyState(*row) for row in rows.fetchall()]


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


def make_log_partitions(connection: Connection, *, days_ahead: int) -> int:
    """The same for the lines of handlers."""
    return _number(connection, "SELECT engine_log_partitions(%s::int)", days_ahead)


def drop_partitions(connection: Connection, *, days: int) -> int:
    """Drop event partitions whose newest event is older than so many days; answers how many."""
    return _number(connection, "SELECT engine_drop_event_partitions(%s::int)", days)


def drop_log_partitions(connection: Connection, *, days: int) -> int:
    """The same for the lines of handlers."""
    return _number(connection, "SELECT engine_drop_log_partitions(%s::int)", days)


def forget_audit(connection: Connection, *, days: int, limit: int) -> int:
    """Delete entries of the audit log that are older than so many days, at most so many; how many."""
    return _number(connection, "SELECT audit_forget(%s::int, %s::int)", days, limit)


def forget_runs(connection: Connection, *, days: int, limit: int) -> int:
    """Delete runs that ended so many days ago, children first, at most so many; answers how many."""
    return _number(connection, "SELECT engine_forget_runs(%s::int, %s::int)", days, limit)


def follow_limits(connection: Connection) -> int:
    """Bring limits of tenants' roles to those of tenants that changed by themselves (an expiry);
    answers how many."""
    return len(connection.execute(FOLLOW_LIMITS).fetchall())
