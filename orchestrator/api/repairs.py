"""Repair by hand: runs paused, resumed and retried; steps retried, completed and skipped."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.schemas import Run, WorkflowDetail
from orchestrator.selectors.runs import access_run, run_view
from orchestrator.selectors.steps import access_step
from orchestrator.selectors.workflows import workflow_view
from orchestrator.services import pauses, repairs

router = Router(tags=["repair"])

RETRY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "from_step": {
            "type": "string",
            "description": "This step and what follows it; else what failed or was cancelled",
        }
    },
}
OUTPUT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"output": {"description": "Any JSON; null unless given"}},
}


def _run(request: ApiRequest, run_id: UUID) -> HttpResponse:
    return answer(run_view(tenant=request.tenant, run_id=run_id))


@router.post(
    "/runs/{run_id}/pause",
    response=Run,
    summary="Pause a run",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def pause(request: ApiRequest, run_id: str) -> HttpResponse:
    """Nothing new of it starts; what runs, ends.  Its timeout stands still."""
    found = pauses.pause_run(tenant=request.tenant, run_id=run_id, actor=request.actor)
    return _run(request, found)


@router.post(
    "/runs/{run_id}/resume",
    response=Run,
    summary="Resume a run",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def resume(request: ApiRequest, run_id: str) -> HttpResponse:
    """A paused run goes on."""
    found = pauses.resume_run(tenant=request.tenant, run_id=run_id, actor=request.actor)
    return _run(request, found)


@router.post(
    "/runs/{run_id}/retry",
    response=Run,
    summary="Retry a run",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=RETRY, required=False),
)
@door("runs:write")
def retry(request: ApiRequest, run_id: str) -> HttpResponse:
    """What failed or was cancelled runs again, and what follows it; the other outputs are kept."""
    access_run(tenant=request.tenant, run_id=run_id)
    body = read_json(request, default={})
    found = repairs.retry_run(tenant=request.tenant, run_id=run_id, body=body, actor=request.actor)
    return _run(request, found)


@router.post(
    "/runs/{run_id}/steps/{step}/retry",
    response=Run,
    summary="Retry a step",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def retry_step(request: ApiRequest, run_id: str, step: str) -> HttpResponse:
    """A step that failed or was cancelled runs again, and what follows it."""
    found = repairs.retry_step(tenant=request.tenant, run_id=run_id, name=step, actor=request.actor)
    return _run(request, found)


@router.post(
    "/runs/{run_id}/steps/{step}/complete",
    response=Run,
    summary="Complete a step by hand",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=OUTPUT, required=False),
)
@door("runs:write")
def complete_step(request: ApiRequest, run_id: str, step: str) -> HttpResponse:
    """A step that does not run ends as if it had succeeded, with this output."""
    access_step(tenant=request.tenant, run_id=run_id, name=step)
    body = read_json(request, default={})
    found = repairs.complete_step(
        tenant=request.tenant, run_id=run_id, name=step, body=body, actor=request.actor
    )
    return _run(request, found)


@router.post(
    "/runs/{run_id}/steps/{step}/skip",
    response=Run,
    summary="Skip a step",
    openapi_extra=documents.route(404, 409),
)
@door("runs:write")
def skip_step(request: ApiRequest, run_id: str, step: str) -> HttpResponse:
    """A step that does not run is skipped; what follows is decided by its rule."""
    found = repairs.skip_step(tenant=request.tenant, run_id=run_id, name=step, actor=request.actor)
    return _run(request, found)


@router.post(
    "/workflows/{name}/pause",
    response=WorkflowDetail,
    summary="Pause a workflow",
    openapi_extra=documents.route(404, 409),
)
@door("workflows:write")
def pause_workflow(request: ApiRequest, name: str) -> HttpResponse:
    """Nothing new of its runs starts; new runs are taken, and wait."""
    pauses.pause_workflow(tenant=request.tenant, name=name, actor=request.actor)
    return answer(workflow_view(tenant=request.tenant, name=name))


@router.post(
    "/workflows/{name}/resume",
    response=WorkflowDetail,
    summary="Resume a workflow",
    openapi_extra=documents.route(404, 409),
)
@door("workflows:write")
def resume_workflow(request: ApiRequest, name: str) -> HttpResponse:
    """Its runs go on."""
    pauses.resume_workflow(tenant=request.tenant, name=name, actor=request.actor)
    return answer(workflow_view(tenant=request.tenant, name=name))
