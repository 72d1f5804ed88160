"""What became of undoing a run and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from orchestrator import store
from orchestrator.domain.undo import UNDO
from orchestrator.models import Run, StepRun
from orchestrator.selectors.payloads import payload
from orchestrator.selectors.versions import version_graph
from orchestrator.selectors.waiting import explain
from orchestrator.store import undoing
from tenants.models import Tenant

ENDED = {"succeeded": "succeeded", "skipped": "succeeded"}
"""How an undo that ended well is told; any other end is a failure."""


def undo_view(
    state: str | None, error: str | None, finished_at: datetime | None
) -> dict[str, object] | None:
    """`{state, error, finished_at}`, or None for what is not being undone."""
    if state is None:
        return None
    return {"state": state, "error": payload(error), "finished_at": finished_at}


def step_undos(
    *, tenant: Tenant, run: Run, ordinals: Sequence[int]
) -> dict[int, dict[str, object] | None]:
    """The undos of these steps, by ordinal; a step that is not undone is not in the answer."""
    if run.undo_state is None or not ordinals:
        return {}
    rows = _rows(tenant, run.pk).filter(ordinal__in=ordinals)
    return {
        row.ordinal: undo_view(_state(row), row.error, row.finished_at)
        for row in rows.only("run_id", "ordinal", "batch", "state", "error", "finished_at")
    }


def undo_rows(
    *, tenant: Tenant, run_id: UUID, version_id: int, names: Sequence[str]
) -> dict[str, dict[str, object]]:
    """The undos of these steps of a run by their names, with what the step runs do not say of them:
    `{handler, state, attempt, max_attempts, waiting}`."""
    graph = version_graph(version_id)
    ordinals = [graph.ordinals[name] for name in names]
    rows = list(_rows(tenant, run_id).filter(ordinal__in=ordinals))
    waiting = explain(tenant=tenant, steps=rows)
    return {
        graph.steps[row.ordinal].name: {
            "handler": graph.steps[row.ordinal].undo,
            "state": row.state,
            "attempt": row.attempts + (row.state == "running"),
            "max_attempts": graph.steps[row.ordinal].undo_attempts,
            "waiting": waiting.get((row.ordinal, row.batch)),
        }
        for row in rows
    }


def undo_counts(*, tenant: Tenant, run_id: UUID) -> tuple[int, int]:
    """How many undos of a run have ended, and how many there are."""
    counts = _rows(tenant, run_id).aggregate(
        ended=Count("pk", filter=Q(finished_at__isnull=False)), total=Count("pk")
    )
    return counts["ended"], counts["total"]


def undoable_steps(*, tenant: Tenant, run_id: UUID, version_id: int) -> list[str]:
    """The names of the steps that undoing this run would undo, the last of the definition first."""
    graph = version_graph(version_id)
    if not any(step.undo or step.kind == "workflow" for step in graph.steps):
        return []
    found = undoing.undoable(store.connection(), tenant_id=tenant.pk, run_id=run_id)
    return [graph.steps[ordinal].name for ordinal in reversed(found)]


def _rows(tenant: Tenant, run_id: UUID) -> QuerySet[StepRun]:
    """The undos; rows that neither call a handler nor wait for child runs only pass the order on."""
    undos = StepRun.objects.filter(tenant=tenant, run_id=run_id, batch=UNDO)
    return undos.filter(Q(handler_id__isnull=False) | Q(wait_key__isnull=False)).order_by("ordinal")


def _state(row: StepRun) -> str:
    return "running" if row.finished_at is None else ENDED.get(row.state, "failed")
