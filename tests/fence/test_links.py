"""A row of one tenant cannot refer to another's: references carry the tenant.

A new reference without it fails here, and so does a new column that names another row and has no
foreign key, until it is said why it needs none."""

from __future__ import annotations

import pytest
from django.db import connection

from orchestrator.models import Workflow
from tenants.models import Tenant
from tests.fence.catalogue import owned

_KEYS = """
SELECT c.conrelid::regclass::text, c.confrelid::regclass::text,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (n, i)
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.i),
       ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (n, i)
               JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.i)
  FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0
"""
_COLUMNS = """
SELECT attname FROM pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname ~ '_id$'
"""
SHARED = {"handler_id", "worker_id", "user_id", "accepted_by_id"}
"""References to what belongs to the server and not to a tenant."""
COPIED = (
    "the engine copies it, in the same statement, from a row of the same tenant; a key would be"
)
COPIED += " checked at every step"
OUTLIVES = "it may name a run that retention has removed"
LOOSE = {
    ("control", "run_id"): COPIED,
    ("hold", "run_id"): COPIED,
    ("hold", "pool_id"): "the place may be the server's: it has no tenant",
    ("step_run", "pool_id"): "the place may be the server's: it has no tenant",
    ("step_run", "version_id"): COPIED,
    ("event", "run_id"): "append-only partitions have no keys",
    ("attempt_log", "run_id"): "append-only partitions have no keys",
    ("rollup", "workflow_id"): "0 is all workflows; append-only, and keeps what was counted",
    ("idempotency_key", "run_id"): OUTLIVES,
    ("schedule_fire", "run_id"): OUTLIVES,
    (
        "schedule_fire",
        "backfill_id",
    ): "it numbers the fires of one backfill; there is no table of them",
    ("trigger_delivery", "run_id"): OUTLIVES,
    ("sla_deadline", "run_id"): "retention removes finished runs alone; a row of one is swept away",
    ("action_item", "letter_id"): "it may name a dead letter that was repaired",
}


def keys() -> list[tuple[str, str, list[str], list[str]]]:
    with connection.cursor() as cursor:
        cursor.execute(_KEYS)
        return list(cursor.fetchall())


def test_references_between_tenants_tables_carry_the_tenant(db: None) -> None:
    mine = {table.name for table in owned()}
    composite = {
        (table, column)
        for table, _, columns, theirs in keys()
        if ("tenant_id", "tenant_id") in zip(columns, theirs, strict=True)
        for column in columns
    }
    for table, other, columns, _ in keys():
        if table in mine and other in mine:
            for column in columns:
                assert (table, column) in composite, (table, column)


def test_every_column_that_names_a_row_has_a_key_or_a_reason(db: None) -> None:
    held = {
        (table, column) for table, _, columns, theirs in keys() for column in columns
        if "tenant_id" in theirs
    }  # fmt: skip
    loose = set()
    with connection.cursor() as cursor:
        for table in owned():
            cursor.execute(_COLUMNS, [table.name])
            for (column,) in cursor.fetchall():
                if column != "tenant_id" and column not in SHARED:
                    loose |= {(table.name, column)} - held
    assert loose == set(LOOSE)


def test_a_link_to_another_tenants_row_cannot_be_stored(one: Tenant, other: Tenant) -> None:
    workflow = Workflow.objects.create(tenant=one, name="w")
    with pytest.raises(Exception, match="same_tenant"), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO idempotency_key (tenant_id, workflow_id, key, fingerprint, run_id, created_at)"
            " VALUES (%s, %s, 'k', 'f', gen_random_uuid(), now())",
            [other.pk, workflow.pk],
        )
