"""What is in use against its limit: of a tenant, of all of them, and of the server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Sum

from orchestrator.models import Run, ServerLoad, TenantLoad
from tenants.models import Quota, Tenant

COUNT_AT_MOST = 10_000
"""Active runs beyond this are not counted: a page shows "10,000+"."""


@dataclass(frozen=True, slots=True)
class ServerUse:
    """Connections of the whole server."""

    in_use: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class Load:
    """A tenant's connections and ready steps, beside the server's total.

    `ready`: step runs that wait for a connection.  `active_runs`: not ended, at most 10,000."""

    in_use: int
    max_connections: int
    ready: int
    total_in_use: int
    total_max: int
    active_runs: int


@dataclass(frozen=True, slots=True)
class TenantUse:
    """A row of the staff's list of tenants."""

    tenant_id: int
    slug: str
    name: str
    suspended_at: datetime | None
    suspended_reason: str
    in_use: int
    max_connections: int
    ready: int
    weight: float


def server_use() -> ServerUse:
    """Connections in use and their limit; in use is exact but for what is given back just now."""
    claimed = ServerLoad.objects.get(slot=-1)
    released = ServerLoad.objects.filter(slot__gte=0).aggregate(sum=Sum("amount"))["sum"] or 0
    return ServerUse(
        in_use=max(claimed.amount - released, 0), max_connections=claimed.max_connections
    )


def tenant_load(tenant: Tenant) -> Load:
    """How much of its limits `tenant` uses now."""
    load = TenantLoad.objects.filter(tenant_id=tenant.pk).first()
    server = server_use()
    active = Run.objects.filter(tenant=tenant, state__in=("queued", "running", "paused"))
    return Load(
        in_use=load.in_use if load else 0,
        max_connections=Quota.objects.values_list("max_connections", flat=True).get(tenant=tenant),
        ready=load.ready_count if load else 0,
        total_in_use=server.in_use,
        total_max=server.max_connections,
        active_runs=active.order_by()[:COUNT_AT_MOST].count(),
    )


def all_tenants_load() -> list[TenantUse]:
    """Every tenant's use, by slug (for staff)."""
    loads = {load.tenant_id: load for load in TenantLoad.objects.all()}
    rows = Tenant.objects.annotate(
        max_connections=F("quota__max_connections"), weight=F("quota__weight")
    ).order_by("slug")
    none = TenantLoad(in_use=0, ready_count=0)
    return [
        TenantUse(
            tenant_id=tenant.pk,
            slug=tenant.slug,
            name=tenant.name,
            suspended_at=tenant.suspended_at,
            suspended_reason=tenant.suspended_reason,
            in_use=loads.get(tenant.pk, none).in_use,
            max_connections=tenant.max_connections or 0,
            ready=loads.get(tenant.pk, none).ready_count,
            weight=tenant.weight or 1.0,
        )
        for tenant in rows
    ]
