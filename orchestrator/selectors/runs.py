"""Runs, always of a tenant: one, or a page of them, in the shape that users see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from orchestrator import store
from orchestrator.domain import jsonvalue
from orchestrator.domain.errors import RunNotFound
from orchestrator.models import Run
from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_moment, unseal_moment
from orchestrator.selectors.payloads import fitting, payload
from orchestrator.selectors.undoing import undo_view
from orchestrator.selectors.waits import run_waiting
from orchestrator.store import run_rows
from tenants import fence
from tenants.models import Tenant

CURSOR = "runs"
RunRow = run_rows.RunRow


@dataclass(frozen=True, slots=True)
class RunFilters:
    """What narrows a list of runs; everything that is set must hold.

    `text`: the beginning of an id (8 digits or more), a part of a workflow's name, a label's value."""

    workflow: str | None = None
    states: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None


NO_FILTERS = RunFilters()


def run_uuid(run_id: UUID | str) -> UUID:
    """A run's id.  Raises RunNotFound for text that is none: there cannot be such a run."""
    if isinstance(run_id, UUID):
        return run_id
    if len(run_id) == 36:
        try:
            return UUID(run_id)
        except ValueError:
            pass
    raise RunNotFound(run_id=run_id)


def access_run(*, tenant: Tenant, run_id: UUID | str) -> Run:
    """The tenant's run.  Raises RunNotFound; absent and foreign look the same."""
    found = run_uuid(run_id)
    run = (
        Run.objects.filter(tenant_id=tenant.pk, pk=found).defer("input", "output", "error").first()
    )
    if run is None:
        raise RunNotFound(run_id=found)
    return run


def describe_run(*, tenant: Tenant, run_id: UUID | str) -> RunRow:
    """The tenant's run with its counts of steps, typed.  Raises RunNotFound."""
    found = run_uuid(run_id)
    row = run_rows.run_row(store.connection(), tenant_id=tenant.pk, run_id=found)
    if row is None:
        raise RunNotFound(run_id=found)
    return row


def run_view(*, tenant: Tenant, run_id: UUID | str) -> dict[str, object]:
    """A Run as the API shows it (moments as datetimes, payloads as Payload).  Raises RunNotFound."""
    return view(describe_run(tenant=tenant, run_id=run_id))


def list_runs(
    *,
    tenant: Tenant,
    filters: RunFilters = NO_FILTERS,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    payloads: bool = False,
) -> Page:
    """The tenant's runs, newest first.  Without `payloads`, `input` and `output` are null.

    Raises InvalidCursor."""
    query = run_rows.RunQuery(
        workflow=filters.workflow,
        states=tuple(filters.states),
        labels=jsonvalue.encode(dict(filters.labels)) if filters.labels else None,
        created_after=filters.created_after,
        created_before=filters.created_before,
        text=filters.text,
        after=None if cursor is None else unseal_moment(CURSOR, cursor),
    )
    rows = run_rows.run_rows(
        store.connection(), tenant_id=tenant.pk, query=query, limit=limit + 1, payloads=payloads
    )
    count = min(limit, fitting([(row.input, row.output) for row in rows]))
    more = len(rows) > count
    rows = rows[:count]
    next_cursor = seal_moment(CURSOR, rows[-1].created_at, rows[-1].id) if more else None
    return Page([view(row) for row in rows], next_cursor)


def finished_among(run_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these runs, which the caller has accessed before, that are terminal by now."""
    with fence.through(fence.WAITS):
        return run_rows.finished(store.connection(), run_ids)


def view(row: RunRow) -> dict[str, object]:
    """A Run as the API shows it."""
    blocked = row.open_count - row.ready_count - row.running_count - row.waiting_count
    return {
        "id": row.id,
        "workflow": row.workflow,
        "version": row.version,
        "state": row.state,
        "input": payload(row.input),
        "output": payload(row.output),
        "error": payload(row.error),
        "labels": jsonvalue.decode(row.labels),
        "priority": row.priority,
        "steps": {
            "total": row.step_count,
            "blocked": blocked,
            "ready": row.ready_count,
            "running": row.running_count,
            "waiting": row.waiting_count,
            "succeeded": row.succeeded_count,
            "failed": row.failed_count,
            "skipped": row.skipped_count,
            "cancelled": row.cancelled_count,
        },
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "paused_at": row.paused_at,
        "start_at": row.start_at,
        "waiting": run_waiting(row),
        "deadline": row.deadline_at,
        "closing": row.closing if row.finished_at is None else None,
        "undo": undo_view(row.undo_state, row.undo_error, row.undo_finished_at),
        "parent": _parent(row),
    }


def _parent(row: RunRow) -> dict[str, object] | None:
    """The run, and its step, that waits for this one."""
    return None if row.parent_id is None else {"run_id": row.parent_id, "step": row.parent_step}
