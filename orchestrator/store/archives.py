"""All rows of a tenant, wherever they are: written out, read back, deleted.

What a tenant's tables are is asked of the database: those with a `tenant_id`, parents first, so that a
new table is archived and deleted without anybody remembering to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO

from psycopg import sql

from orchestrator.store.connect import Connection

AUDIT = "audit_entry"
BLOCK = 1024 * 1024

_TABLES = """
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND (c.relname = 'tenant' OR EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid
                                           AND t.attname = 'tenant_id' AND NOT t.attisdropped))
 GROUP BY c.relname ORDER BY c.relname
"""
_LINKS = """
SELECT c.relname, p.relname, k.attname, f.attname
  FROM pg_constraint o
  JOIN pg_class c ON c.oid = o.conrelid
  JOIN pg_class p ON p.oid = o.confrelid
  JOIN pg_attribute k ON k.attrelid = o.conrelid AND k.attnum = o.conkey[1]
  JOIN pg_attribute f ON f.attrelid = o.confrelid AND f.attnum = o.confkey[1]
 WHERE o.contype = 'f' AND o.connamespace = current_schema()::regnamespace AND NOT c.relispartition
"""
_BUSY = """
SELECT coalesce((SELECT in_use FROM tenant_load WHERE tenant_id = %(id)s), 0),
       (SELECT suspended_at IS NOT NULL FROM tenant WHERE id = %(id)s)
"""
_OBJECTS = "SELECT DISTINCT object_key FROM payload WHERE tenant_id = %s AND object_key IS NOT NULL"
_ANNOUNCE = "INSERT INTO stored_object (key) VALUES (%s) ON CONFLICT DO NOTHING"
_SESSIONS = """
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
 WHERE usename = tenant_role_name(%s)
"""
_FREE_IDS = """
SELECT NOT EXISTS (SELECT FROM tenant WHERE id = %(id)s), NOT EXISTS (SELECT FROM tenant WHERE slug = %(slug)s)
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with rows of tenants.  `outside`: links to rows that are no tenant's, as (column, table,
    its column)."""

    name: str
    columns: tuple[str, ...]
    outside: tuple[tuple[str, str, str], ...] = ()

    @property
    def owner(self) -> str:
        """The column that names the tenant."""
        return "id" if self.name == "tenant" else "tenant_id"


def tables(connection: Connection) -> list[Table]:
    """Every table with rows of tenants, parents before children."""
    found = {str(name): tuple(columns) for name, columns in connection.execute(_TABLES).fetchall()}
    links = connection.execute(_LINKS).fetchall()
    outside: dict[str, list[tuple[str, str, str]]] = {}
    parents: dict[str, set[str]] = {name: set() for name in found}
    for child, parent, column, key in links:
        if child in found and parent not in found:
            outside.setdefault(child, []).append((column, parent, key))
        elif child in found and child != parent:
            parents[child].add(parent)
    return [Table(name, found[name], tuple(outside.get(name, ()))) for name in _ordered(parents)]


def _ordered(parents: dict[str, set[str]]) -> list[str]:
    """Parents first; of a circle, whose links are checked at the end of the transaction, in any order."""
    done: dict[str, None] = {}
    while len(done) < len(parents):
        ready = [name for name in parents if name not in done and parents[name] <= done.keys()]
        done |= dict.fromkeys(ready or [next(name for name in parents if name not in done)])
    return list(done)


def hold(connection: Connection, tenant_id: int) -> tuple[int, bool]:
    """Look at one moment from here on, and keep the engine away: how many connections the tenant has
    in use, and whether it is suspended.  First in its transaction."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
    connection.execute("SELECT 1 FROM tenant_load WHERE tenant_id = %s FOR UPDATE", (tenant_id,))
    row = connection.execute(_BUSY, {"id": tenant_id}).fetchone()
    assert row is not None
    return int(row[0]), bool(row[1])


def write(
    connection: Connection, table: Table, tenant_id: int, put: Callable[[bytes], object]
) -> None:
    """The tenant's rows of a table, in COPY's text format."""
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {} = {}) TO STDOUT").format(
        _columns(table), sql.Identifier(table.name), sql.Identifier(table.owner), tenant_id
    )
    with connection.cursor().copy(query) as copy:
        for block in copy:
            put(bytes(block))


def read(connection: Connection, table: Table, rows: IO[bytes]) -> int:
    """Put rows back that `write` wrote, without those that belong to somebody who is gone since (a
    member without a user); answers how many."""
    name, temporary = sql.Identifier(table.name), sql.Identifier(f"restored_{table.name}")
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WHERE false").format(
            temporary, _columns(table), name
        )
    )
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(temporary, _columns(table))
    with connection.cursor().copy(query) as copy:
        while block := rows.read(BLOCK):
            copy.write(block)
    there = [
        sql.SQL("(r.{0} IS NULL OR EXISTS (SELECT FROM {1} o WHERE o.{2} = r.{0}))").format(
            *map(sql.Identifier, link)
        )
        for link in table.outside
    ]
    insert = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} r WHERE {}"
        " ON CONFLICT DO NOTHING"
    )
    where = sql.SQL(" AND ").join([sql.SQL("true"), *there])
    done = connection.execute(
        insert.format(name, _columns(table), _columns(table), temporary, where)
    )
    return done.rowcount


def delete(connection: Connection, found: Iterable[Table], tenant_id: int) -> None:
    """Delete the tenant's rows of these tables, children first; the audit log stays."""
    for table in reversed(list(found)):
        if table.name == AUDIT:
            continue
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE {} = {}").format(
                sql.Identifier(table.name), sql.Identifier(table.owner), tenant_id
            )
        )


def objects(connection: Connection, tenant_id: int) -> list[str]:
    """Keys of the tenant's payloads in the storage."""
    return [str(key) for (key,) in connection.execute(_OBJECTS, (tenant_id,)).fetchall()]


def announce(connection: Connection, key: str) -> None:
    """An object is about to be stored again."""
    connection.execute(_ANNOUNCE, (key,))


def end_sessions(connection: Connection, tenant_id: int) -> None:
    """End what the tenant's role still has open."""
    connection.execute(_SESSIONS, (tenant_id,))


def free(connection: Connection, tenant_id: int, slug: str) -> tuple[bool, bool]:
    """Whether a tenant's id, and its slug, are nobody's."""
    row = connection.execute(_FREE_IDS, {"id": tenant_id, "slug": slug}).fetchone()
    assert row is not None
    return bool(row[0]), bool(row[1])


def _columns(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.columns))
