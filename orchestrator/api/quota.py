"""A tenant's limits, and what it used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.bodies import MOST_LINES
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import Query
from orchestrator.api.quota_shapes import QuotaView, UsageView
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.selectors.load import tenant_load
from orchestrator.selectors.quota import LimitUse, last_changes, limits_in_use
from orchestrator.selectors.usage import HOUR_S, LONGEST_S, Hour, usage_window
from tenants.models import Quota, QuotaChange, Tenant

router = Router(tags=["quota"])

DEFAULT_WINDOW = "24h"


@router.get(
    "/quota",
    response=QuotaView,
    summary="Read the tenant's limits",
    openapi_extra=documents.route(),
)
@door("runs:read")
def get_quota(request: ApiRequest) -> HttpResponse:
    """The tenant's limits with what of them is in use, what is set for a time, and what changed."""
    quota = Quota.objects.get(pk=request.tenant.pk)
    suspended = Tenant.objects.filter(pk=request.tenant.pk, suspended_at__isnull=False).exists()
    load = tenant_load(request.tenant)
    found = limits_in_use(tenant=request.tenant)
    uses = {one.name: one.use for one in found}
    values = {one.name: one.value for one in found}
    return answer(
        {
            **values,
            "max_bulk_lines": MOST_LINES,
            "keep_outputs": quota.keep_outputs,
            "suspended": suspended,
            "use": {
                "connections": load.in_use,
                "ready_steps": load.ready,
                "active_runs": load.active_runs,
                "waiting_steps": uses["max_waiting_steps"],
                "submissions": uses["submissions_per_minute"],
                "storage_bytes": uses["max_storage_bytes"],
                "schedules": uses["max_schedules"],
                "api_keys": uses["max_api_keys"],
            },
            "limits": _limits(found),
            "changes": [_change(row) for row in last_changes(tenant=request.tenant)],
        }
    )


@router.get(
    "/usage",
    response=UsageView,
    summary="Read what the tenant used",
    openapi_extra=documents.route(
        422, parameters=(documents.parameter("window", "1h to 31d up to now", default="24h"),)
    ),
)
@door("runs:read")
def get_usage(request: ApiRequest) -> HttpResponse:
    """Hour by hour what the tenant used, and when its limits will be reached."""
    query = Query(request, ("window",))
    window = query.text("window") or DEFAULT_WINDOW
    query.done()
    seen = usage_window(tenant=request.tenant, window_s=_seconds(window))
    return answer(
        {
            "window": window,
            "since": seen.since,
            "until": seen.until,
            "totals": asdict(seen.totals),
            "hours": [_hour(hour) for hour in seen.hours],
            "limits": _limits(limits_in_use(tenant=request.tenant)),
        }
    )


def _seconds(window: str) -> int:
    try:
        seconds = parse_duration(window).total_seconds()
    except ValueError as error:
        raise InvalidRequest(problems=[Problem("/window", str(error), "bad_duration")]) from None
    if not HOUR_S <= seconds <= LONGEST_S:
        message = "must be from 1h to 31d"
        raise InvalidRequest(problems=[Problem("/window", message, "out_of_range")])
    return round(seconds)


def _limits(found: Sequence[LimitUse]) -> list[dict[str, object]]:
    return [
        {
            "name": one.name,
            "value": one.value,
            "base": one.base,
            "use": one.use,
            "override": None
            if one.override is None
            else {
                "value": one.override.value,
                "expires_at": one.override.expires_at,
                "reason": one.override.reason,
            },
            "exhausted_at": one.exhausted_at,
        }
        for one in found
    ]


def _change(row: QuotaChange) -> dict[str, object]:
    return {
        "at": row.at,
        "name": row.name,
        "kind": row.kind,
        "before": row.before,
        "after": row.after,
        "expires_at": row.expires_at,
        "reason": row.reason,
    }


def _hour(hour: Hour) -> dict[str, object]:
    return {
        "at": hour.at,
        **asdict(hour.used),
        "peak_connections": hour.peak_connections,
        "peak_active_runs": hour.peak_active_runs,
        "peak_waiting_steps": hour.peak_waiting_steps,
        "storage_bytes": hour.storage_bytes,
    }
