"""When steps of a tenant ran, by the event log."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.system.running_system import TestTenant

Spans = list[tuple[datetime, datetime]]
LATER = datetime(9999, 1, 1, tzinfo=UTC)

_SPANS = """
SELECT a.at, b.at FROM event a
  LEFT JOIN LATERAL (SELECT at FROM event b WHERE b.tenant_id = a.tenant_id AND b.run_id = a.run_id
                        AND b.ordinal = a.ordinal AND b.seq > a.seq AND b.type LIKE 'step.%%'
                      ORDER BY b.seq LIMIT 1) b ON true
 WHERE a.tenant_id = %s AND a.type = 'step.running'
 ORDER BY a.at
"""


def spans(tenant: TestTenant) -> Spans:
    """(started, ended) of every attempt, by start; what still runs ends in the far future."""
    return [(start, end or LATER) for start, end in tenant.system.sql(_SPANS, tenant.id)]


def in_flight(found: Spans, at: datetime) -> int:
    """How many attempts held a connection just after this moment."""
    return sum(start <= at < end for start, end in found)


def reached(found: Spans, count: int, after: datetime) -> datetime:
    """The first start after the moment with which so many were in flight."""
    for start, _ in found:
        if start >= after and in_flight(found, start) >= count:
            return start
    raise AssertionError(f"never {count} in flight after {after}")
