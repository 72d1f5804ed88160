"""Dead letters: what was given up, and its retry as a bulk action."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.repair_shapes import Action, DeadLetter, DeadLetterGroup
from orchestrator.api.schemas import ListOf
from orchestrator.selectors.actions import access_action, action_view
from orchestrator.selectors.dead_letters import letters_of, list_groups, list_letters
from orchestrator.services.actions import retry_dead_letters

router = Router(tags=["repair"])

FILTERS = (
    documents.parameter("workflow", "Name of a workflow"),
    documents.parameter("step", "Name of a step"),
    documents.parameter("code", "The error's code"),
    documents.parameter("fingerprint", "Of a group"),
)
NAMES = ("workflow", "step", "code", "fingerprint")
RETRY = {
    "type": "object",
    "additionalProperties": False,
    "description": "`ids`, or what narrows them, or `all`",
    "properties": {
        "ids": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 1000},
        "workflow": {"type": "string"},
        "step": {"type": "string"},
        "code": {"type": "string"},
        "fingerprint": {"type": "string"},
        "all": {"type": "boolean"},
        "rate": {"type": ["string", "number"], "default": "10/1s"},
    },
}


@router.get(
    "/dead-letters",
    response=ListOf[DeadLetter | DeadLetterGroup],
    summary="List dead letters",
    openapi_extra=documents.route(
        404,
        422,
        parameters=(
            *FILTERS,
            documents.parameter("group", "Groups of like errors", kind="boolean"),
            documents.LIMIT,
            documents.CURSOR,
        ),
    ),
)
@door("runs:read")
def get_dead_letters(request: ApiRequest) -> HttpResponse:
    """Steps that were given up, newest first; with `group=true`, groups of those with like errors."""
    query = Query(request, (*PAGING, *NAMES, "group"))
    workflow, step, code, fingerprint = (query.text(name) for name in NAMES)
    limit, cursor, grouped = query.limit(), query.cursor(), query.flag("group")
    query.done()
    letters = letters_of(
        tenant=request.tenant, workflow=workflow, step=step, code=code, fingerprint=fingerprint
    )
    read = list_groups if grouped else list_letters
    page = read(tenant=request.tenant, letters=letters, limit=limit, cursor=cursor)
    return answer(page.view())


@router.post(
    "/dead-letters/retry",
    response={202: Action},
    summary="Retry dead letters",
    openapi_extra=documents.route(400, 413, 422, body=RETRY),
)
@door("runs:write")
def retry(request: ApiRequest) -> HttpResponse:
    """202 with the action that retries them, no faster than `rate`."""
    made = retry_dead_letters(tenant=request.tenant, body=read_json(request), actor=request.actor)
    return answer(action_view(made), 202, headers={"Location": f"/api/v1/actions/{made.pk}"})


@router.get(
    "/actions/{action_id}",
    response=Action,
    summary="Read a bulk action",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_action(request: ApiRequest, action_id: str) -> HttpResponse:
    """How far a bulk action is."""
    return answer(action_view(access_action(tenant=request.tenant, action_id=action_id)))
