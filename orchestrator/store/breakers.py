"""Circuit breakers, as the workers' processes use them; see `sql/functions/80_breaker.sql`."""

from __future__ import annotations

from orchestrator.store.connect import Connection

TROUBLED = "SELECT host FROM breaker WHERE tenant_id = %s::int"
HELD = """
SELECT host, greatest(extract(epoch FROM retry_at - clock_timestamp()), 0)::float8 FROM breaker
 WHERE tenant_id = %s::int AND state <> 'closed'
"""
TRY = "SELECT engine_breaker_try(%s::int, %s::text, %s::float8)"
FAILED = "SELECT engine_breaker_failed(%s::int, %s::text, %s::bool, %s::int, %s::float8)"
ANSWERED = "SELECT engine_breaker_answered(%s::int, %s::text, %s::bool)"


def troubled_hosts(connection: Connection, tenant_id: int) -> set[str]:
    """The tenant's hosts whose last call failed."""
    return {str(row[0]) for row in connection.execute(TROUBLED, (tenant_id,)).fetchall()}


def held_hosts(connection: Connection, tenant_id: int) -> dict[str, float]:
    """The tenant's hosts that are held off, with the seconds until one may try (0: now)."""
    rows = connection.execute(HELD, (tenant_id,)).fetchall()
    return {str(host): float(left_s) for host, left_s in rows}


def try_host(connection: Connection, tenant_id: int, host: str, *, pause_s: float) -> float:
    """0: call it; -1: call it, as the one that tries; else how many seconds to wait."""
    row = connection.execute(TRY, (tenant_id, host, pause_s)).fetchone()
    assert row is not None
    return float(row[0])


def failed(
    connection: Connection,
    tenant_id: int,
    host: str,
    *,
    tried: bool,
    failures: int,
    pause_s: float,
) -> bool:
    """A call has failed; answers whether the breaker is open now."""
    row = connection.execute(FAILED, (tenant_id, host, tried, failures, pause_s)).fetchone()
    return bool(row and row[0])


def answered(connection: Connection, tenant_id: int, host: str, *, tried: bool) -> None:
    """A call was answered."""
    connection.execute(ANSWERED, (tenant_id, host, tried))
