"""Limits that were set for a time come back when it is over."""

from __future__ import annotations

from psycopg import sql

from orchestrator.store.connect import Connection
from tenants import limits

# Index: quota_override_due.
_DUE = """
SELECT tenant_id, name FROM quota_override WHERE expires_at <= clock_timestamp()
 ORDER BY tenant_id, name LIMIT %s
"""
# Guard: the quota's row first, as whoever sets a limit; what was set anew meanwhile is not over.
_LOCK = "SELECT 1 FROM quota WHERE tenant_id = %s FOR UPDATE"
_END = """
WITH over AS (
    DELETE FROM quota_override
     WHERE tenant_id = %(tenant_id)s AND name = %(name)s AND expires_at <= clock_timestamp()
    RETURNING *
), back AS (
    UPDATE quota q SET {column} = (o.base #>> '{{}}')::{type}, updated_at = clock_timestamp()
      FROM over o WHERE q.tenant_id = o.tenant_id
), told AS (
    INSERT INTO quota_change (tenant_id, at, name, kind, before, after, reason, actor)
    SELECT tenant_id, clock_timestamp(), name, 'expired', value, base, reason, 'system' FROM over
)
INSERT INTO audit_entry (tenant_id, at, actor, action, target, before, after, origin)
SELECT o.tenant_id, clock_timestamp(), 'system', 'quota.override_expired', t.slug,
       jsonb_build_object(o.name, o.value), jsonb_build_object(o.name, o.base), ''
  FROM over o JOIN tenant t ON t.id = o.tenant_id
"""
_TYPES = {"IntegerField": "int", "BigIntegerField": "bigint", "FloatField": "float8"}


def end_due(connection: Connection, *, limit: int = 100) -> int:
    """Let limits come back whose time is over, each in a transaction; answers how many."""
    ended = 0
    for tenant_id, name in connection.execute(_DUE, (limit,)).fetchall():
        kind = _TYPES[limits.BY_NAME[name].field.get_internal_type()]
        statement = sql.SQL(_END).format(column=sql.Identifier(name), type=sql.SQL(kind))
        with connection.transaction():
            connection.execute(_LOCK, (tenant_id,))
            ended += connection.execute(statement, {"tenant_id": tenant_id, "name": name}).rowcount
    return ended
