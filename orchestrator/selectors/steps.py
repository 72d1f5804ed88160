"""A run's step runs and graph, in the shapes that users see."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from orchestrator.domain.errors import StepNotFound
from orchestrator.models import Run, StepRun, Worker
from orchestrator.selectors.heartbeats import SILENT, last_beats
from orchestrator.selectors.maps import (
    batch_index,
    in_state,
    is_mapping,
    map_counts,
    map_views,
    state_of,
)
from orchestrator.selectors.paging import LARGEST_LIMIT, Page, seal_number, unseal_number
from orchestrator.selectors.payloads import fitting, payload
from orchestrator.selectors.runs import access_run
from orchestrator.selectors.undoing import step_undos
from orchestrator.selectors.versions import VersionGraph, version_graph
from orchestrator.selectors.waiting import explain
from tenants.models import Tenant

CURSOR = "steps"
BATCHES_CURSOR = "batches"


def access_step(*, tenant: Tenant, run_id: UUID | str, name: str) -> tuple[Run, VersionGraph, int]:
    """The tenant's run, its graph, and the ordinal of the step.  Raises RunNotFound, StepNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    if name not in graph.ordinals:
        raise StepNotFound(step=name)
    return run, graph, graph.ordinals[name]


def steps_page(
    *,
    tenant: Tenant,
    run_id: UUID | str,
    limit: int = LARGEST_LIMIT,
    cursor: str | None = None,
    step: str | None = None,
    state: str | None = None,
) -> Page:
    """StepRuns in definition order, a row for each step, or those in one state; with `step`, that
    step's alone: of a map, its batches.

    Raises RunNotFound, InvalidCursor."""
    run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    if step is not None and graph.is_map(step):
        return _batches_page(tenant, run, step, limit, cursor)
    rows = _rows(tenant, run.pk).order_by("ordinal")
    if step is not None:
        rows = rows.filter(ordinal=graph.ordinals.get(step, -1))
    if state is not None:
        rows = in_state(rows, state)
    if cursor is not None:
        rows = rows.filter(ordinal__gt=unseal_number(CURSOR, cursor))
    found, more = _cut(list(rows[: limit + 1]), limit)
    next_cursor = seal_number(CURSOR, found[-1].ordinal) if more else None
    return Page(_views(tenant, run, found, graph), next_cursor)


def _batches_page(tenant: Tenant, run: Run, step: str, limit: int, cursor: str | None) -> Page:
    graph = version_graph(run.version_id)
    after = 0 if cursor is None else unseal_number(BATCHES_CURSOR, cursor)
    rows = StepRun.objects.filter(
        tenant=tenant, run_id=run.pk, ordinal=graph.ordinals[step], batch__gt=after
    ).order_by("batch")
    found, more = _cut(list(rows[: limit + 1]), limit)
    next_cursor = seal_number(BATCHES_CURSOR, found[-1].batch) if more else None
    return Page(_views(tenant, run, found, graph), next_cursor)


def _cut(rows: list[StepRun], limit: int) -> tuple[list[StepRun], bool]:
    """The rows of a page, and whether there are more."""
    count = min(limit, fitting([(row.output,) for row in rows]))
    return rows[:count], len(rows) > count


def step_view(*, tenant: Tenant, run_id: UUID | str, name: str) -> dict[str, object] | None:
    """The StepRun of this name, of a map too its own; None where there is no such step.

    Raises RunNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    graph = version_graph(run.version_id)
    ordinal = graph.ordinals.get(name, -1)
    rows = list(_rows(tenant, run.pk).filter(ordinal=ordinal))
    return next(iter(_views(tenant, run, rows, graph)), None)


def steps_view(*, tenant: Tenant, run_id: UUID | str) -> list[dict[str, object]]:
    """All StepRuns of a run, in definition order.  Raises RunNotFound."""
    run = access_run(tenant=tenant, run_id=run_id)
    rows = list(_rows(tenant, run.pk).order_by("ordinal"))
    return _views(tenant, run, rows, version_graph(run.version_id))


def _rows(tenant: Tenant, run_id: UUID) -> QuerySet[StepRun]:
    """The steps' own rows; what was called of them besides is told with them."""
    return StepRun.objects.filter(tenant=tenant, run_id=run_id, batch=0)


def _views(
    tenant: Tenant, run: Run, rows: Sequence[StepRun], graph: VersionGraph
) -> list[dict[str, object]]:
    undos = step_undos(tenant=tenant, run=run, ordinals=[row.ordinal for row in rows])
    maps = map_views(tenant=tenant, steps=rows, graph=graph)
    waiting = explain(tenant=tenant, steps=[row for row in rows if not is_mapping(row)])
    beats = last_beats(rows)
    workers = worker_names({row.worker_id for row in rows if row.worker_id is not None})
    return [
        {
            "name": graph.steps[row.ordinal].name,
            "index": batch_index(row.batch),
            "handler": graph.steps[row.ordinal].handler,
            "kind": graph.steps[row.ordinal].kind,
            "calls": graph.steps[row.ordinal].calls,
            "queue": row.queue,
            "trigger_rule": row.rule,
            "state": state_of(row.state, row.wait_reason),
            "reason": row.reason if row.state == "skipped" else None,
            "cached": row.state == "succeeded" and row.reason == "cached",
            "attempt": row.attempts + (row.state == "running" or is_mapping(row)),
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
            "undo": undos.get(row.ordinal) if row.batch == 0 else None,
            "map": maps[row.ordinal].counts if row.batch == 0 and row.ordinal in maps else None,
            "errors": maps[row.ordinal].errors if row.batch == 0 and row.ordinal in maps else None,
        }
        for row in rows
    ]


def _child(graph: VersionGraph, row: StepRun) -> str | None:
    """The newest child run of a step that calls a workflow."""
    return row.wait_key if graph.steps[row.ordinal].kind == "workflow" else None


def step_states(*, tenant: Tenant, run_id: UUID) -> list[str]:
    """The states of a run's step runs, in definition order: little, even of a large run."""
    rows = _rows(tenant, run_id).order_by("ordinal")
    return [state_of(*row) for row in rows.values_list("state", "wait_reason")]


def begun_steps(
    *, tenant: Tenant, run_id: UUID, version_id: int, limit: int
) -> tuple[list[dict[str, object]], int]:
    """The first `limit` step runs that were ready, with their times, and how many there are in all."""
    rows = _rows(tenant, run_id).filter(ready_at__isnull=False)
    graph = version_graph(version_id)
    found = rows.order_by("ready_at", "ordinal")[:limit].values_list(
        "ordinal", "state", "wait_reason", "ready_at", "started_at", "finished_at"
    )
    return [
        {
            "name": graph.steps[ordinal].name,
            "state": state_of(state, wait_reason),
            "ready_at": ready_at,
            "started_at": started_at,
            "finished_at": finished_at,
        }
        for ordinal, state, wait_reason, ready_at, started_at, finished_at in found
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
        "ordinal", "state", "wait_reason", "attempts", "extra_attempts",
        "ready_at", "started_at", "finished_at",
    )  # fmt: skip
    maps = {step.ordinal for step in graph.steps if step.is_map}
    counts = map_counts(tenant=tenant, run_id=run.pk, ordinals=maps)
    states = {row[0]: (state_of(*row[1:3]), *row[3:]) for row in rows.order_by("ordinal")}
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
                "map": counts[step.ordinal].counts if step.is_map else None,
            }
        )
    edges = [
        [graph.steps[parent].name, step.name] for step in graph.steps for parent in step.parents
    ]
    return {"nodes": nodes, "edges": edges}
