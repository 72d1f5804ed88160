"""A run's step runs and graph, in the shapes that users see."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.models import Run, StepRun, Worker
from orchestrator.selectors.heartbeats import SILENT, last_beats
from orchestrator.selectors.paging import LARGEST_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.undoing import step_undos
from orchestrator.selectors.versions import VersionGraph, version_graph
from orchestrator.selectors.waiting import explain
from tenants.models import Tenant

CURSOR = "steps"
CALLS = (COMPENSATION, UNDO)
"""Batches that are no steps; what became of them is told with their step."""


def steps_page(
    *,
    tenant: Tenant,
    run_id: UUID | str,
    limit: int = LARGEST_LIMIT,
    cursor: str | None = None,
    step: str | None = None,
    state: str | None = None,
) -> Page:
    """StepRuns in definition order, or those of one step or in one state.

    Raises RunNotFound, InvalidCursor."""
    run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    rows = _rows(tenant, run.pk).order_by("ordinal", "batch")
    if step is not None:
        rows = rows.filter(ordinal=graph.ordinals.get(step, -1))
    if state is not None:
        rows = rows.filter(state=state)
    if cursor is not None:
        rows = rows.filter(ordinal__gt=unseal_number(CURSOR, cursor))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    next_cursor = seal_number(CURSOR, found[-1].ordinal) if more else None
    return Page(_views(tenant, run, found, graph), next_cursor)


def steps_view(*, tenant: Tenant, run_id: UUID | str) -> list[dict[str, object]]:
    """All StepRuns of a run, in definition order.  Raises RunNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    rows = list(_rows(tenant, run.pk).order_by("ordinal", "batch"))
    return _views(tenant, run, rows, version_graph(run.version_id))


def _rows(tenant: Tenant, run_id: UUID) -> QuerySet[StepRun]:
    return StepRun.objects.filter(tenant=tenant, run_id=run_id).exclude(batch__in=CALLS)


def _views(
    tenant: Tenant, run: Run, rows: Sequence[StepRun], graph: VersionGraph
) -> list[dict[str, object]]:
    undos = step_undos(tenant=tenant, run=run, ordinals=[row.ordinal for row in rows])
    waiting = explain(tenant=tenant, steps=rows)
    beats = last_beats(rows)
    workers = worker_names({row.worker_id for row in rows if row.worker_id is not None})
    return [
        {
            "name": graph.steps[row.ordinal].name,
            "index": None,
            "handler": graph.steps[row.ordinal].handler,
            "kind": graph.steps[row.ordinal].kind,
            "calls": graph.steps[row.ordinal].calls,
            "queue": row.queue,
            "trigger_rule": row.rule,
            "state": row.state,
            "reason": row.reason if row.state == "skipped" else None,
            "cached": row.state == "succeeded" and row.reason == "cached",
            "attempt": row.attempts + (row.state == "running"),
            "max_attempts": graph.steps[row.ordinal].max_attempts + row.extra_attempts,
            "repeats": row.repeats,
            "output": payload(row.output),
            "error": payload(row.error),
            "handled": row.handled,
            "waiting": waiting.get((row.ordinal, row.batch)),
            "depends_on": graph.parent_names(row.ordinal),
            "ready_at": row.ready_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "worker": workers.get(row.worker_id) if row.worker_id is not None else None,
            "child_run_id": _child(graph, row),
            "progress": beats.get((row.ordinal, row.batch), SILENT).progress,
            "heartbeat_at": beats.get((row.ordinal, row.batch), SILENT).at,
            "undo": undos.get(row.ordinal),
        }
        for row in rows
    ]


def _child(graph: VersionGraph, row: StepRun) -> str | None:
    """The newest child run of a step that calls a workflow."""
    return row.wait_key if graph.steps[row.ordinal].kind == "workflow" else None


def step_states(*, tenant: Tenant, run_id: UUID) -> list[str]:
    """The states of a run's step runs, in definition order: little, even of a large run."""
    rows = _rows(tenant, run_id).order_by("ordinal", "batch")
    return list(rows.values_list("state", flat=True))


def begun_steps(
    *, tenant: Tenant, run_id: UUID, version_id: int, limit: int
) -> tuple[list[dict[str, object]], int]:
    """The first `limit` step runs that were ready, with their times, and how many there are in all."""
    rows = _rows(tenant, run_id).filter(ready_at__isnull=False)
    graph = version_graph(version_id)
    found = rows.order_by("ready_at", "ordinal", "batch")[:limit].values_list(
        "ordinal", "state", "ready_at", "started_at", "finished_at"
    )
    keys = ("state", "ready_at", "started_at", "finished_at")
    return [
        {"name": graph.steps[ordinal].name, **dict(zip(keys, values, strict=True))}
        for ordinal, *values in found
    ], rows.count()


def worker_names(ids: set[int]) -> dict[int, str]:
    """The names of these workers, gone ones too."""
    return dict(Worker.objects.filter(pk__in=ids).values_list("pk", "name")) if ids else {}


def graph_view(*, tenant: Tenant, run_id: UUID | str) -> dict[str, object]:
    """`{nodes: [{name, ordinal, handler, state, …}], edges: [[from, to], …]}` by steps' names.

    Raises RunNotFound."""
    run: Run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    rows = _rows(tenant, run.pk).values_list(
        "ordinal", "state", "attempts", "extra_attempts", "ready_at", "started_at", "finished_at"
    )
    states = {row[0]: row[1:] for row in rows.order_by("ordinal")}
    undos = step_undos(tenant=tenant, run=run, ordinals=list(states))
    nodes = []
    for step in graph.steps:
        state, attempts, extra, ready_at, started_at, finished_at = states[step.ordinal]
        nodes.append(
            {
                "name": step.name,
                "ordinal": step.ordinal,
                "handler": step.handler,
                "trigger_rule": step.rule,
                "state": state,
                "attempt": attempts + (state == "running"),
                "max_attempts": step.max_attempts + extra,
                "ready_at": ready_at,
                "started_at": started_at,
                "finished_at": finished_at,
                "undo": undos.get(step.ordinal),
            }
        )
    edges = [
        [graph.steps[parent].name, step.name] for step in graph.steps for parent in step.parents
    ]
    return {"nodes": nodes, "edges": edges}
