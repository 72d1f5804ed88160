"""Triggers: made, edited, given new secrets, and what became of their requests."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.api.trigger_shapes import (
    ROTATE,
    TRIGGER,
    DeliveryView,
    TriggerSecret,
    TriggerView,
)
from orchestrator.selectors import triggers as selectors
from orchestrator.services import triggers as services

router = Router(tags=["triggers"])
NO_STORE = {"Cache-Control": "no-store"}


@router.get(
    "/triggers",
    response=ListOf[TriggerView],
    summary="List triggers",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("workflows:read")
def get_triggers(request: ApiRequest) -> HttpResponse:
    """Triggers by name."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_triggers(tenant=request.tenant, limit=limit, cursor=cursor)
    return answer(page.view())


@router.post(
    "/triggers",
    response={201: TriggerSecret},
    summary="Make a trigger",
    openapi_extra=documents.route(400, 409, 413, 422, body=TRIGGER),
)
@door("workflows:write")
def create(request: ApiRequest) -> HttpResponse:
    """201 with the trigger and its secret, which is shown this once; 409 where its name is taken."""
    row, secret = services.create_trigger(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    shown = {**selectors.trigger_view(row, request.tenant), "secret": secret}
    headers = {**NO_STORE, "Location": f"/api/v1/triggers/{row.name}"}
    return answer(shown, 201, headers=headers)


@router.get(
    "/triggers/{name}",
    response=TriggerView,
    summary="Read a trigger",
    openapi_extra=documents.route(404),
)
@door("workflows:read")
def get_trigger(request: ApiRequest, name: str) -> HttpResponse:
    """A trigger, without its secret."""
    row = selectors.access_trigger(tenant=request.tenant, name=name)
    return answer(selectors.trigger_view(row, request.tenant))


@router.put(
    "/triggers/{name}",
    response={200: TriggerView, 201: TriggerSecret},
    summary="Make or replace a trigger",
    openapi_extra=documents.route(400, 413, 422, body=TRIGGER),
)
@door("workflows:write")
def replace(request: ApiRequest, name: str) -> HttpResponse:
    """201 with its secret where it is new; 200 without: an old one keeps its secret."""
    row, secret = services.replace_trigger(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    shown = selectors.trigger_view(row, request.tenant)
    if secret is None:
        return answer(shown)
    return answer({**shown, "secret": secret}, 201, headers=NO_STORE)


@router.delete(
    "/triggers/{name}",
    response={204: None},
    summary="Delete a trigger",
    openapi_extra=documents.route(404),
)
@door("workflows:write")
def delete(request: ApiRequest, name: str) -> HttpResponse:
    """Its requests are refused from now on; its runs stay."""
    services.delete_trigger(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)


@router.post(
    "/triggers/{name}/rotate",
    response=TriggerSecret,
    summary="Give a trigger a new secret",
    openapi_extra=documents.route(400, 404, 413, 422, body=ROTATE, required=False),
)
@door("workflows:write")
def rotate(request: ApiRequest, name: str) -> HttpResponse:
    """The new secret, shown this once; the one before still counts for `keep`."""
    selectors.access_trigger(tenant=request.tenant, name=name)
    row, secret = services.rotate_trigger(
        tenant=request.tenant, name=name, body=read_json(request, default={}), actor=request.actor
    )
    shown = {**selectors.trigger_view(row, request.tenant), "secret": secret}
    return answer(shown, headers=NO_STORE)


@router.get(
    "/triggers/{name}/deliveries",
    response=ListOf[DeliveryView],
    summary="List what became of a trigger's requests",
    openapi_extra=documents.route(404, 422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("workflows:read")
def get_deliveries(request: ApiRequest, name: str) -> HttpResponse:
    """Signed requests, newest first, with their outcome and run."""
    row = selectors.access_trigger(tenant=request.tenant, name=name)
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    return answer(selectors.deliveries_page(row=row, limit=limit, cursor=cursor).view())
