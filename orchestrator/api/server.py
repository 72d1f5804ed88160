"""What the server offers a tenant: handlers, workers, quota."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import MOST_LINES
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.pool_shapes import BreakerView
from orchestrator.api.schemas import HandlerView, ListOf, QuotaView, WorkerView
from orchestrator.selectors.breakers import breakers_view
from orchestrator.selectors.handlers import handlers_view
from orchestrator.selectors.load import tenant_load
from orchestrator.selectors.paging import Page
from orchestrator.selectors.workers import live_workers
from tenants.models import Quota

router = Router(tags=["server"])


@router.get(
    "/handlers",
    response=ListOf[HandlerView],
    summary="List handlers",
    openapi_extra=documents.route(),
)
@door("workflows:read")
def get_handlers(request: ApiRequest) -> HttpResponse:
    """The handlers that steps may call, by name."""
    return answer(Page(handlers_view(), None).view())


@router.get(
    "/workers",
    response=ListOf[WorkerView],
    summary="List live workers",
    openapi_extra=documents.route(),
)
@door("runs:read")
def get_workers(request: ApiRequest) -> HttpResponse:
    """The live worker processes; they serve all tenants."""
    items: list[dict[str, object]] = [
        {
            "name": worker.name,
            "state": worker.state,
            "queues": list(worker.queues),
            "in_flight": worker.in_flight,
            "started_at": worker.started_at,
            "seen_at": worker.seen_at,
        }
        for worker in live_workers()
    ]
    return answer(Page(items, None).view())


@router.get(
    "/breakers",
    response=ListOf[BreakerView],
    summary="List hosts that fail",
    openapi_extra=documents.route(),
)
@door("runs:read")
def get_breakers(request: ApiRequest) -> HttpResponse:
    """Hosts to which the tenant's `core.http` calls fail; those held off first."""
    return answer(Page(breakers_view(tenant=request.tenant), None).view())


@router.get(
    "/quota",
    response=QuotaView,
    summary="Read the tenant's limits",
    openapi_extra=documents.route(),
)
@door("runs:read")
def get_quota(request: ApiRequest) -> HttpResponse:
    """The tenant's limits, and what of them is in use."""
    quota = Quota.objects.get(pk=request.tenant.pk)
    load = tenant_load(request.tenant)
    return answer(
        {
            "max_connections": quota.max_connections,
            "weight": quota.weight,
            "max_steps": quota.max_steps,
            "max_payload_bytes": quota.max_payload_bytes,
            "max_bulk_lines": MOST_LINES,
            "keep_outputs": quota.keep_outputs,
            "suspended": request.tenant.suspended_at is not None,
            "use": {
                "connections": load.in_use,
                "ready_steps": load.ready,
                "active_runs": load.active_runs,
            },
        }
    )
