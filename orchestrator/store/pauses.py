"""Holding runs and workflows, and letting them go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from orchestrator.store.connect import Connection

# As `engine_workflow_paused` walks up: the run itself, then the open runs above it, at most 20.
ABOVE = """
WITH RECURSIVE up AS (
    SELECT r.parent_id, NULL::bigint AS workflow_id FROM run r WHERE r.tenant_id = %(tenant_id)s::int AND r.id = %(run_id)s::uuid
    UNION ALL
    SELECT r.parent_id, r.workflow_id FROM up u
      JOIN run r ON r.tenant_id = %(tenant_id)s::int AND r.id = u.parent_id AND r.finished_at IS NULL
)
SELECT w.name, w.paused_at FROM up u JOIN workflow w ON w.id = u.workflow_id WHERE w.paused_at IS NOT NULL
 ORDER BY w.paused_at LIMIT 1
"""


def pause_runs(
    connection: Connection, *, tenant_id: int, run_ids: Sequence[UUID], actor: str | None
) -> list[UUID]:
    """Pause these runs of a tenant; answers those that were paused now (open, not closing)."""
    row = connection.execute(
        "SELECT engine_pause(%s::int, %s::uuid[], %s::text)", (tenant_id, list(run_ids), actor)
    ).fetchone()
    return list(row[0]) if row else []


def resume_runs(
    connection: Connection, *, tenant_id: int, run_ids: Sequence[UUID], actor: str | None
) -> tuple[list[UUID], list[str]]:
    """Let these runs go on; answers those that were resumed now, and the queues to wake."""
    row = connection.execute(
        "SELECT resumed, wake FROM engine_resume(%s::int, %s::uuid[], %s::text)",
        (tenant_id, list(run_ids), actor),
    ).fetchone()
    assert row is not None
    return list(row[0]), list(row[1])


def pause_workflow(connection: Connection, *, tenant_id: int, workflow_id: int) -> bool:
    """Pause a workflow; False where it was paused already."""
    row = connection.execute(
        "SELECT engine_pause_workflow(%s::int, %s::bigint)", (tenant_id, workflow_id)
    ).fetchone()
    return bool(row and row[0])


def resume_workflow(
    connection: Connection, *, tenant_id: int, workflow_id: int
) -> tuple[bool, list[str]]:
    """Let a workflow go on; whether it was paused, and the queues to wake."""
    row = connection.execute(
        "SELECT resumed, wake FROM engine_resume_workflow(%s::int, %s::bigint)",
        (tenant_id, workflow_id),
    ).fetchone()
    assert row is not None
    return bool(row[0]), list(row[1])


def paused_above(
    connection: Connection, *, tenant_id: int, run_id: UUID
) -> tuple[str, datetime] | None:
    """Of the workflows of the runs above a run, the one that was paused first, and when."""
    row = connection.execute(ABOVE, {"tenant_id": tenant_id, "run_id": run_id}).fetchone()
    return None if row is None else (row[0], row[1])
