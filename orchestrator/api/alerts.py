"""Alerts: listed, looked at, seen to, ended."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.alert_shapes import ALERT_FILTERS, COMMENT, AlertStory, AlertView
from orchestrator.api.answers import answer
from orchestrator.api.bodies import read_json
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import ListOf
from orchestrator.domain.alerts import AlertState
from orchestrator.domain.observations import Severity
from orchestrator.selectors import alerts as selectors
from orchestrator.selectors.alerts import AlertFilters
from orchestrator.services import alerts as services

router = Router(tags=["alerts"])
FILTERS = ("state", "severity", "rule", "workflow", "silenced")


@router.get(
    "/alerts",
    response=ListOf[AlertView],
    summary="List alerts",
    openapi_extra=documents.route(
        422, parameters=(*ALERT_FILTERS, documents.LIMIT, documents.CURSOR)
    ),
)
@door("runs:read")
def get_alerts(request: ApiRequest) -> HttpResponse:
    """Alerts, those that began last first."""
    query = Query(request, (*FILTERS, *PAGING))
    limit, cursor = query.limit(), query.cursor()
    filters = AlertFilters(
        states=query.words("state", tuple(AlertState)),
        severity=query.choice("severity", ("", *Severity), "") or None,
        rule=query.text("rule"),
        workflow=query.text("workflow"),
        muted=query.flag("silenced") if query.text("silenced") else None,
    )
    query.done()
    page = selectors.list_alerts(tenant=request.tenant, filters=filters, limit=limit, cursor=cursor)
    return answer(page.view())


@router.get(
    "/alerts/{alert_id}",
    response=AlertStory,
    summary="Read an alert",
    openapi_extra=documents.route(404),
)
@door("runs:read")
def get_alert(request: ApiRequest, alert_id: str) -> HttpResponse:
    """An alert with its timeline: every move, notification and mute, and who did what."""
    row = selectors.access_alert(tenant=request.tenant, alert_id=alert_id)
    return answer({**selectors.alert_view(row), "timeline": selectors.timeline(row)})


@router.post(
    "/alerts/{alert_id}/acknowledge",
    response=AlertView,
    summary="Acknowledge an alert",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=COMMENT, required=False),
)
@door("alerts:write")
def acknowledge(request: ApiRequest, alert_id: str) -> HttpResponse:
    """Say that somebody sees to it: it is not repeated any more.  409 where it does not fire."""
    selectors.access_alert(tenant=request.tenant, alert_id=alert_id)
    row = services.acknowledge_alert(
        tenant=request.tenant,
        alert_id=alert_id,
        body=read_json(request, default={}),
        actor=request.actor,
    )
    return answer(selectors.alert_view(row))


@router.post(
    "/alerts/{alert_id}/resolve",
    response=AlertView,
    summary="Resolve an alert",
    openapi_extra=documents.route(400, 404, 409, 413, 422, body=COMMENT, required=False),
)
@door("alerts:write")
def resolve(request: ApiRequest, alert_id: str) -> HttpResponse:
    """End it, whatever its rule sees; while that stays bad, another one begins.  409 where it is not
    open, or only pending."""
    selectors.access_alert(tenant=request.tenant, alert_id=alert_id)
    row = services.resolve_alert(
        tenant=request.tenant,
        alert_id=alert_id,
        body=read_json(request, default={}),
        actor=request.actor,
    )
    return answer(selectors.alert_view(row))
