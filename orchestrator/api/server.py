"""What the server offers a tenant: handlers, workers, hosts that fail."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.pool_shapes import BreakerView
from orchestrator.api.queries import PAGING, Query
from orchestrator.api.schemas import HandlerView, ListOf, WorkerView
from orchestrator.selectors.breakers import breakers_view
from orchestrator.selectors.handlers import handlers_view
from orchestrator.selectors.paging import page_of
from orchestrator.selectors.workers import live_workers

router = Router(tags=["server"])
HELD_OFF = ("open", "half_open", "closed")
"""States of hosts, in the list's order."""


@router.get(
    "/handlers",
    response=ListOf[HandlerView],
    summary="List handlers",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("workflows:read")
def get_handlers(request: ApiRequest) -> HttpResponse:
    """The handlers that steps may call, by name."""
    return _page(request, "handlers", {str(one["name"]): one for one in handlers_view()})


@router.get(
    "/workers",
    response=ListOf[WorkerView],
    summary="List live workers",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_workers(request: ApiRequest) -> HttpResponse:
    """The live worker processes, by name; they serve all tenants."""
    rows: dict[str, dict[str, object]] = {
        f"{worker.name} {worker.id}": {
            "name": worker.name,
            "state": worker.state,
            "queues": list(worker.queues),
            "in_flight": worker.in_flight,
            "started_at": worker.started_at,
            "seen_at": worker.seen_at,
        }
        for worker in live_workers()
    }
    return _page(request, "workers", rows)


@router.get(
    "/breakers",
    response=ListOf[BreakerView],
    summary="List hosts that fail",
    openapi_extra=documents.route(422, parameters=(documents.LIMIT, documents.CURSOR)),
)
@door("runs:read")
def get_breakers(request: ApiRequest) -> HttpResponse:
    """Hosts to which the tenant's `core.http` calls fail; those held off first."""
    rows = {
        f"{HELD_OFF.index(str(one['state']))} {one['host']}": one
        for one in breakers_view(tenant=request.tenant)
    }
    return _page(request, "breakers", rows)


def _page(request: ApiRequest, kind: str, rows: Mapping[str, dict[str, object]]) -> HttpResponse:
    query = Query(request, PAGING)
    limit, cursor = query.limit(), query.cursor()
    query.done()
    return answer(page_of(kind, rows, limit=limit, cursor=cursor).view())
