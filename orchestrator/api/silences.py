"""Silences and maintenance windows."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.alert_shapes import SILENCE, WINDOW, SilenceView, WindowView
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.selectors import channels as selectors
from orchestrator.services import silences as services

router = Router(tags=["alerts"])


@router.get(
    "/silences",
    response=ListOf[SilenceView],
    summary="List silences",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_silences(request: ApiRequest) -> HttpResponse:
    """Silences, those that end last first."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_silences(
        tenant=request.tenant, now=services.now(), limit=limit, cursor=cursor
    )
    return answer(page.view())


@router.post(
    "/silences",
    response={201: SilenceView},
    summary="Silence alerts",
    openapi_extra=documents.route(400, 413, 422, 429, body=SILENCE),
)
@door("alerts:write")
def create_silence(request: ApiRequest) -> HttpResponse:
    """Nobody is told of alerts that match until it ends; what was told already stays told."""
    row = services.create_silence(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    headers = {"Location": f"/api/v1/silences/{row.pk}"}
    return answer(selectors.silence_view(row, services.now()), 201, headers=headers)


@router.get(
    "/silences/{silence_id}",
    response=SilenceView,
    summary="Read a silence",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_silence(request: ApiRequest, silence_id: str) -> HttpResponse:
    """A silence."""
    row = selectors.access_silence(tenant=request.tenant, silence_id=silence_id)
    return answer(selectors.silence_view(row, services.now()))


@router.put(
    "/silences/{silence_id}",
    response=SilenceView,
    summary="Change a silence",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=SILENCE),
)
@door("alerts:write")
def replace_silence(request: ApiRequest, silence_id: str) -> HttpResponse:
    """Another end, reason or extent; 409 where it is over."""
    selectors.access_silence(tenant=request.tenant, silence_id=silence_id)
    row = services.replace_silence(
        tenant=request.tenant, silence_id=silence_id, body=read_json(request), actor=request.actor
    )
    return answer(selectors.silence_view(row, services.now()))


@router.delete(
    "/silences/{silence_id}",
    response={204: None},
    summary="End a silence",
    openapi_extra=documents.route(404, 409),
)
@door("alerts:write")
def end_silence(request: ApiRequest, silence_id: str) -> HttpResponse:
    """It ends now, and stays in the list; 409 where it is over."""
    services.end_silence(tenant=request.tenant, silence_id=silence_id, actor=request.actor)
    return HttpResponse(status=204)


@router.get(
    "/maintenance-windows",
    response=ListOf[WindowView],
    summary="List maintenance windows",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_windows(request: ApiRequest) -> HttpResponse:
    """Maintenance windows by name."""
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    page = selectors.list_windows(
        tenant=request.tenant, now=services.now(), limit=limit, cursor=cursor
    )
    return answer(page.view())


@router.post(
    "/maintenance-windows",
    response={201: WindowView},
    summary="Make a maintenance window",
    openapi_extra=documents.route(400, 409, 413, 422, 429, body=WINDOW),
)
@door("alerts:write")
def create_window(request: ApiRequest) -> HttpResponse:
    """While it is open nobody is told of alerts that match."""
    row = services.create_window(
        tenant=request.tenant, body=read_json(request), actor=request.actor
    )
    headers = {"Location": f"/api/v1/maintenance-windows/{row.name}"}
    return answer(selectors.window_view(row, services.now()), 201, headers=headers)


@router.get(
    "/maintenance-windows/{name}",
    response=WindowView,
    summary="Read a maintenance window",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_window(request: ApiRequest, name: str) -> HttpResponse:
    """A maintenance window, and whether it is open."""
    row = selectors.access_window(tenant=request.tenant, name=name)
    return answer(selectors.window_view(row, services.now()))


@router.put(
    "/maintenance-windows/{name}",
    response={200: WindowView, 201: WindowView},
    summary="Make or replace a maintenance window",
    openapi_extra=documents.route(400, 413, 422, 429, body=WINDOW),
)
@door("alerts:write")
def replace_window(request: ApiRequest, name: str) -> HttpResponse:
    """201 where it is new, 200 else."""
    row, made = services.replace_window(
        tenant=request.tenant, name=name, body=read_json(request), actor=request.actor
    )
    return answer(selectors.window_view(row, services.now()), 201 if made else 200)


@router.delete(
    "/maintenance-windows/{name}",
    response={204: None},
    summary="Delete a maintenance window",
    openapi_extra=documents.route(404),
)
@door("alerts:write")
def delete_window(request: ApiRequest, name: str) -> HttpResponse:
    """One that is open closes."""
    services.delete_window(tenant=request.tenant, name=name, actor=request.actor)
    return HttpResponse(status=204)
