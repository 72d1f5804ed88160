"""Emptying the tests' database after a test that commits.

Django's `flush` truncates every table and makes all permissions anew, which takes 150 ms; almost all tables
are empty or hold a few rows, and those are deleted in 10 ms.  What the migrations have left in tables is there
again afterwards."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from django.db import connection, transaction

from tenants import fence

KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""No test writes these."""

TABLES = """
SELECT table_.oid::regclass::text, array(
         SELECT DISTINCT confrelid::regclass::text FROM pg_constraint
          WHERE contype = 'f' AND conrelid = table_.oid AND confrelid <> table_.oid)
  FROM pg_class AS table_
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""


OPEN = "ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_stays"
SHUT = "ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_stays"
"""The audit log gives no rows back, save here."""


def empty_audit() -> None:
    """Delete the audit log, which outlives the tenants that a test has deleted itself."""
    with fence.as_(fence.OWNER), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"{OPEN}; DELETE FROM audit_entry; {SHUT}")


class Emptying:
    """What empties a database that has just been migrated."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(TABLES)
            parents = dict(cursor.fetchall())
            order = list(TopologicalSorter(parents).static_order())
            self._tables = [name for name in order if name not in KEPT]
            self._delete = "; ".join(f"DELETE FROM {name}" for name in reversed(self._tables))
            self._seed: list[tuple[str, list[tuple[Any, ...]]]] = []
            for name in self._tables:
                cursor.execute(f"SELECT * FROM {name}")
                if rows := cursor.fetchall():
                    self._seed.append((name, rows))

    def __call__(self) -> None:
        """Delete every row but those that the migrations made."""
        with fence.as_(fence.OWNER), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"{OPEN}; {self._delete}; {SHUT}")
            for name, rows in self._seed:
                values = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {name} VALUES ({values})", rows)
