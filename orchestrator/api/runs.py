"""Runs: submit, list, read, wait for, cancel."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, UntilEnd, door, waiting_door
from orchestrator.api.queries import PAGING, RUN_FILTERS, Query
from orchestrator.api.schemas import Attempt, Graph, ListOf, MapResult, Run, StepRun
from orchestrator.domain.errors import MillraceError
from orchestrator.domain.statuses import TERMINAL_RUN
from orchestrator.selectors.attempts import access_step, attempts_page
from orchestrator.selectors.paging import LARGEST_LIMIT
from orchestrator.selectors.results import results_page
from orchestrator.selectors.runs import access_run, list_runs, run_view, view
from orchestrator.selectors.steps import graph_view, steps_page
from orchestrator.selectors.workflows import access_workflow
from orchestrator.services.runs import cancel_run, submit_run
from orchestrator.services.undoing import undo_run

router = Router(tags=["runs"])


def _body(request: ApiRequest, workflow: str) -> object:
    """The submission; where it cannot be read, the workflow in the path is looked for first."""
    try:
        return read_json(request, default={})
    except MillraceError:
        access_workflow(tenant=request.tenant, name=workflow)
        raise


@router.post(
    "/workflows/{name}/runs",
    response={200: Run, 202: Run},
    summary="Submit a run",
    openapi_extra=documents.route(
        400,
        404,
        409,
        413,
        422,
        429,
        parameters=(documents.WAIT, documents.KEY),
        body=documents.SUBMISSION,
        required=False,
    ),
)
@waiting_door("runs:write")
def submit(request: ApiRequest, name: str) -> HttpResponse | UntilEnd:
    """202 with the run; 200 and `Idempotency-Replayed: true` with the first one of a known key."""
    body = _body(request, name)
    query = Query(request, ("wait",))
    seconds = query.wait()
    if query.problems:
        access_workflow(tenant=request.tenant, name=name)
    query.done()
    made = submit_run(
        tenant=request.tenant,
        workflow=name,
        body=body,
        key=request.headers.get("Idempotency-Key"),
        actor=request.actor,
    )
    status = 200 if made.replayed else 202
    headers = {"Location": f"/api/v1/runs/{made.run_id}"}
    if made.replayed:
        headers["Idempotency-Replayed"] = "true"
    if seconds > 0:
        return UntilEnd(made.run_id, seconds, status, headers)
    if made.row is not None:
        return answer(view(made.row), status, headers=headers)
    return answer(run_view(tenant=request.tenant, run_id=made.run_id), status, headers=headers)


@router.get(
    "/runs",
    response=ListOf[Run],
    summary="List runs",
    openapi_extra=documents.route(
        422, parameters=(*documents.RUN_FILTERS, documents.LIMIT, documents.CURSOR)
    ),
)
@door("runs:read")
def get_runs(request: ApiRequest) -> HttpResponse:
    """Runs, newest first."""
    query = Query(request, (*PAGING, *RUN_FILTERS))
    filters, limit, cursor = query.run_filters(), query.limit(), query.cursor()
    query.done()
    page = list_runs(
        tenant=request.tenant, filters=filters, limit=limit, cursor=cursor, payloads=True
    )
    return answer(page.view())


@router.get(
    "/runs/{run_id}",
    response=Run,
    summary="Read a run, or wait for its end",
    openapi_extra=documents.route(404, 422, parameters=(documents.WAIT,)),
)
@waiting_door("runs:read")
def get_run(request: ApiRequest, run_id: str) -> HttpResponse | UntilEnd:
    """The run; with `wait`, when it has ended or time is up."""
    run = run_view(tenant=request.tenant, run_id=run_id)
    query = Query(request, ("wait",))
    seconds = query.wait()
    query.done()
    if seconds > 0 and run["state"] not in TERMINAL_RUN:
        return UntilEnd(access_run(tenant=request.tenant, run_id=run_id).pk, seconds)
    return answer(run)


@router.get(
    "/runs/{run_id}/steps",
    response=ListOf[StepRun],
    summary="List a run's steps",
    openapi_extra=documents.route(
        404,
        422,
        parameters=(
            documents.STEPS_LIMIT,
            documents.CURSOR,
            documents.parameter("step", "This step alone; of a map: its batches"),
        ),
    ),
)
@door("runs:read")
def get_steps(request: ApiRequest, run_id: str) -> HttpResponse:
    """Step runs in definition order."""
    access_run(tenant=request.tenant, run_id=run_id)
    query = Query(request, (*PAGING, "step"))
    limit, cursor, step = query.limit(LARGEST_LIMIT), query.cursor(), query.text("step")
    query.done()
    page = steps_page(tenant=request.tenant, run_id=run_id, limit=limit, cursor=cursor, step=step)
    return answer(page.view())


@router.get(
    "/runs/{run_id}/steps/{step}/attempts",
    response=ListOf[Attempt],
    summary="List a step's attempts",
    openapi_extra=documents.route(
        404,
        422,
        parameters=(
            documents.LIMIT,
            documents.CURSOR,
            documents.parameter("index", "A map's batch", kind="integer", minimum=0),
        ),
    ),
)
@door("runs:read")
def get_attempts(request: ApiRequest, run_id: str, step: str) -> HttpResponse:
    """Attempts, first to last."""
    access_step(tenant=request.tenant, run_id=run_id, name=step)
    query = Query(request, (*PAGING, "index"))
    limit, cursor, index = query.limit(), query.cursor(), query.index()
    query.done()
    page = attempts_page(
        tenant=request.tenant, run_id=run_id, name=step, index=index, limit=limit, cursor=cursor
    )
    return answer(page.view())


@router.get(
    "/runs/{run_id}/steps/{step}/results",
    response=ListOf[MapResult],
    summary="List a map's results",
    openapi_extra=documents.route(404, 422, parameters=(documents.STEPS_LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_results(request: ApiRequest, run_id: str, step: str) -> HttpResponse:
    """Results of items whose batches have ended, in the batches' order.  A page also ends after 1 MiB."""
    access_step(tenant=request.tenant, run_id=run_id, name=step)
    query = Query(request, PAGING)
    limit, cursor = query.limit(LARGEST_LIMIT), query.cursor()
    query.done()
    page = results_page(tenant=request.tenant, run_id=run_id, name=step, limit=limit, cursor=cursor)
    return answer(page.view())


@router.get(
    "/runs/{run_id}/graph",
    response=Graph,
    summary="Read a run's graph",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_graph(request: ApiRequest, run_id: str) -> HttpResponse:
    """Steps with their states, and edges."""
    return answer(graph_view(tenant=request.tenant, run_id=run_id))


@router.post(
    "/runs/{run_id}/cancel",
    response=Run,
    summary="Cancel a run",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def cancel(request: ApiRequest, run_id: str) -> HttpResponse:
    """Nothing new starts, except `always` steps; what runs is asked to end, then cut off."""
    found = cancel_run(tenant=request.tenant, run_id=run_id, actor=request.actor)
    return answer(run_view(tenant=request.tenant, run_id=found))


@router.post(
    "/runs/{run_id}/undo",
    response=Run,
    summary="Undo a run that has ended",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def undo(request: ApiRequest, run_id: str) -> HttpResponse:
    """Once: the undo of every step that succeeded is called, last first; the run's state stays."""
    found = undo_run(tenant=request.tenant, run_id=run_id, actor=request.actor)
    return answer(run_view(tenant=request.tenant, run_id=found))
