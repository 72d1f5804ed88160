"""Signals to runs."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.schemas import Run
from orchestrator.selectors.runs import run_view
from orchestrator.services.signals import access_signal, send_signal

router = Router(tags=["runs"])

SIGNAL: documents.Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "payload": {"description": "Any JSON; the output of the step that takes the signal"},
        "dedup_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "A signal of this name with the same key does nothing again",
        },
    },
}


@router.post(
    "/runs/{run_id}/signals/{name}",
    response=Run,
    summary="Send a signal to a run",
    openapi_extra=documents.route(400, 404, 409, 413, 422, 429, body=SIGNAL, required=False),
)
@door("runs:write")
def signal(request: ApiRequest, run_id: str, name: str) -> HttpResponse:
    """The first step that waits for it goes on; where none does yet, it is kept until one does."""
    access_signal(tenant=request.tenant, run_id=run_id, name=name)
    body = read_json(request, default={})
    found = send_signal(
        tenant=request.tenant, run_id=run_id, name=name, body=body, actor=request.actor
    )
    return answer(run_view(tenant=request.tenant, run_id=found))
