"""SLAs: rules of service levels, what they came to, what they would have done, what is proposed."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.api.sla_shapes import SLA, Proposal, SlaDetail, SlaPreview, SlaView
from orchestrator.selectors import slas as selectors
from orchestrator.selectors.paging import Page
from orchestrator.services import slas as services

router = Router(tags=["slas"])


@router.get(
    "/slas",
    response=ListOf[SlaView],
    summary="List SLAs",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_slas(request: ApiRequest) -> HttpResponse:
    """SLAs by name, each with its status."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    items, more = selectors.list_views(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(Page(items, more).view())


@router.post(
    "/slas",
    response={201: SlaDetail},
    summary="Make an SLA",
    openapi_extra=documents.route(400, 409, 413, 422, 429, body=SLA),
)
@door("alerts:write")
def create(request: ApiRequest) -> HttpResponse:
    """201 with the SLA; what it would have counted in the past is counted at once.  409 where its name
    is taken."""
    made = services.create_sla(tenant=request.tenant, body=read_json(request), actor=request.actor)
    headers = {"Location": f"/api/v1/slas/{made.name}"}
    return answer(selectors.sla_detail(made), 201, headers=headers)


@router.post(
    "/slas/preview",
    response=SlaPreview,
    summary="Try an SLA on the past",
    openapi_extra=documents.route(400, 413, 422, 429, body=SLA),
)
@door("runs:read")
def preview(request: ApiRequest) -> HttpResponse:
    """How often a rule would have fired in the last 14 days, when, and on which runs; nothing is made.
    Of a tenant one at a time: 429 else."""
    found = services.preview_sla(tenant=request.tenant, body=read_json(request))
    return answer(preview_view(found))


@router.get(
    "/slas/{name}",
    response=SlaDetail,
    summary="Read an SLA",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_sla(request: ApiRequest, name: str) -> HttpResponse:
    """An SLA with its status, its budget, and the runs that are late or predicted to be."""
    return answer(selectors.sla_detail(selectors.access_sla(tenant=request.tenant, name=name)))


@router.put(
    "/slas/{name}",
    response={200: SlaDetail, 201: SlaDetail},
    summary="Make or replace an SLA",
    openapi_extra=documents.route(400, 409, 413, 422, 429, body=SLA),
)
@door("alerts:write")
def replace(request: ApiRequest, name: str) -> HttpResponse:
    """201 where it is new.  Where it counts something else now, it is counted anew, and runs that go
    on get their new time."""
    row, created = services.replace_sla(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    return answer(selectors.sla_detail(row), 201 if created else 200)


@router.delete(
    "/slas/{name}",
    response={204: None},
    summary="Delete an SLA",
    openapi_extra=documents.route(404),
)
@door("alerts:write")
def delete(request: ApiRequest, name: str) -> HttpResponse:
    """Its alert resolves; what was counted for it goes with it."""
    services.delete_sla(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)


@router.get(
    "/sla-proposals",
    response=ListOf[Proposal],
    summary="List proposed SLAs",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_proposals(request: ApiRequest) -> HttpResponse:
    """Rules that fit what workflows did in their first week, until they are accepted or dismissed."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    items, more = selectors.proposals(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(Page(items, more).view())


@router.post(
    "/sla-proposals/{workflow}/accept",
    response={201: SlaDetail},
    summary="Accept a proposed SLA",
    openapi_extra=documents.route(404, 409, 429),
)
@door("alerts:write")
def accept(request: ApiRequest, workflow: str) -> HttpResponse:
    """201 with the SLA that it became."""
    made = services.accept_proposal(tenant=request.tenant, workflow=workflow, actor=request.actor)
    headers = {"Location": f"/api/v1/slas/{made.name}"}
    return answer(selectors.sla_detail(made), 201, headers=headers)


@router.post(
    "/sla-proposals/{workflow}/dismiss",
    response={204: None},
    summary="Dismiss a proposed SLA",
    openapi_extra=documents.route(404),
)
@door("alerts:write")
def dismiss(request: ApiRequest, workflow: str) -> HttpResponse:
    """Nothing is proposed for the workflow any more."""
    services.dismiss_proposal(tenant=request.tenant, workflow=workflow, actor=request.actor)
    return HttpResponse(status=204)


def preview_view(found: services.Preview) -> dict[str, object]:
    """A preview as the API shows it: the newest 200 intervals."""
    return {
        "since": found.since,
        "until": found.until,
        "complete": found.complete,
        "exact_since": found.exact_since,
        "firings": len(found.found.firings),
        "intervals": found.intervals(),
        "bad_s": found.found.bad_s,
        "firing_s": found.found.firing_s,
        "insufficient_s": found.found.insufficient_s,
        "samples": found.samples,
        "good": found.good,
        "run_ids": list(found.run_ids),
    }
