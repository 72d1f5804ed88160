"""What a submission needs to know first: the workflow, the version, and whether its key is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from orchestrator.store.connect import Connection

# Indexes: workflow_name, workflow_version_number, idempotency_key's key.
TARGET = """
SELECT w.id, w.archived_at IS NOT NULL, v.id, v.version, i.run_id, i.fingerprint
  FROM workflow w
  LEFT JOIN workflow_version v ON v.workflow_id = w.id AND v.version = coalesce(%(version)s::int, w.newest)
  LEFT JOIN idempotency_key i ON i.tenant_id = w.tenant_id AND i.workflow_id = w.id AND i.key = %(key)s
 WHERE w.tenant_id = %(tenant_id)s AND w.name = %(name)s
"""
KNOWN = """
SELECT i.workflow_id, i.key, i.run_id, i.fingerprint
  FROM unnest(%(workflows)s::bigint[], %(keys)s::text[]) AS d (workflow_id, key)
  JOIN idempotency_key i ON i.tenant_id = %(tenant_id)s AND i.workflow_id = d.workflow_id AND i.key = d.key
"""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An idempotency key's first run, and the fingerprint of the body that made it."""

    run_id: UUID
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Target:
    """A workflow to be run.  `version_id` is None where it has no such version."""

    workflow_id: int
    archived: bool
    version_id: int | None
    version: int | None
    known: KnownKey | None


def target(
    connection: Connection, *, tenant_id: int, name: str, version: int | None, key: str | None
) -> Target | None:
    """The tenant's workflow `name` at `version` (None: the newest); None where there is none.

    U+0000, which is in no text that PostgreSQL holds, is in no name and no key that is known."""
    if "\0" in name:
        return None
    if key is not None and "\0" in key:
        key = None
    row = connection.execute(
        TARGET, {"tenant_id": tenant_id, "name": name, "version": version, "key": key}
    ).fetchone()
    if row is None:
        return None
    workflow_id, archived, version_id, number, run_id, fingerprint = row
    known = None if run_id is None else KnownKey(run_id, fingerprint)
    return Target(workflow_id, archived, version_id, number, known)


def known_keys(
    connection: Connection, *, tenant_id: int, keys: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], KnownKey]:
    """Those of these (workflow id, key) that were used before."""
    rows = connection.execute(
        KNOWN,
        {
            "tenant_id": tenant_id,
            "workflows": [workflow_id for workflow_id, _ in keys],
            "keys": [key for _, key in keys],
        },
    )
    return {(workflow, key): KnownKey(run_id, print_) for workflow, key, run_id, print_ in rows}
