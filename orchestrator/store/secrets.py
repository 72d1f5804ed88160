"""Secrets, as workers read them: sealed, at the last moment."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.store.connect import Connection

FETCH = """
WITH wanted AS (
    SELECT o.id, o.tenant_id, o.name, o.sealed, o.last_used_at
      FROM unnest(%s::int[], %s::text[]) AS w (tenant_id, name)
     CROSS JOIN LATERAL (
         SELECT s.* FROM secret s WHERE s.tenant_id = w.tenant_id AND s.name = w.name OFFSET 0) o
), used AS (
    UPDATE secret s SET last_used_at = clock_timestamp()
      FROM wanted w
     WHERE s.id = w.id AND (w.last_used_at IS NULL OR w.last_used_at < clock_timestamp() - interval '1 minute')
)
SELECT w.tenant_id, w.name, w.sealed FROM wanted w
"""


def fetch(
    connection: Connection, wanted: Collection[tuple[int, str]]
) -> list[tuple[int, str, bytes]]:
    """The sealed values of these (tenant, name), those that there are; notes their use once a minute."""
    rows = connection.execute(
        FETCH, ([tenant for tenant, _ in wanted], [name for _, name in wanted])
    ).fetchall()
    return [(tenant, name, bytes(sealed)) for tenant, name, sealed in rows]
