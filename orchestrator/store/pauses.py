"""Holding runs and workflows, and letting them go on."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.store.connect import Connection


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
