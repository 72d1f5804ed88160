"""What the database itself says of its tables: every test here walks all of them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

_TABLES = """
SELECT c.relname, c.relispartition, c.relrowsecurity,
       EXISTS (SELECT 1 FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped),
       ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid)
  FROM pg_class c
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
 ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull
  FROM pg_attribute a
 WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum
"""
_CONSTRAINTS = """
SELECT conname FROM pg_constraint
 WHERE conrelid = %s::regclass AND contype IN ('f', 'c') AND conparentid = 0
"""
SAMPLES = {
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "now()",
    "interval": "'1 second'",
    "jsonb": "'{}'",
    "boolean": "false",
}


@dataclass(frozen=True)
class Table:
    """A table, as it stands."""

    name: str
    partition: bool
    fenced: bool
    owned: bool
    policies: list[str]


def tables() -> list[Table]:
    """Every table."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        return [Table(*row) for row in cursor.fetchall()]


def owned() -> list[Table]:
    """The tables that tenants own, without the partitions of others."""
    return [table for table in tables() if table.owned and not table.partition]


def loosen() -> None:
    """Let every table take any row, for the rest of this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is still to be checked holds a table
        for table in tables():
            if not table.partition:
                cursor.execute(_CONSTRAINTS, [table.name])
                for (name,) in cursor.fetchall():
                    cursor.execute(f'ALTER TABLE "{table.name}" DROP CONSTRAINT IF EXISTS "{name}"')


def insertion(table: str, tenant_id: int) -> str:
    """The statement that inserts a row of the tenant's; other numbers and texts are its own too."""
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [table])
        columns = [row for row in cursor.fetchall() if row[2] or row[0] == "tenant_id"]
    values = [_sample(name, kind, tenant_id) for name, kind, _ in columns]
    names = ", ".join(f'"{name}"' for name, _, _ in columns)
    return f'INSERT INTO "{table}" ({names}) OVERRIDING SYSTEM VALUE VALUES ({", ".join(values)})'


def _sample(name: str, kind: str, tenant_id: int) -> str:
    if name == "tenant_id":
        return str(tenant_id)
    if kind.endswith("[]"):
        return "'{}'"
    if kind in SAMPLES:
        return SAMPLES[kind]
    if kind in ("text", "character varying", "bytea"):
        return f"'sample-{tenant_id}'"
    if name == "id":
        return str(1_000_000 + tenant_id)  # nobody's yet
    return str(tenant_id % 30_000)
