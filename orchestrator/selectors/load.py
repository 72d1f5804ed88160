"""What is in use against its limit: of a tenant, of all of them, and of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, Sum

from orchestrator.models import ServerLoad, Storage, TenantLoad
from orchestrator.selectors.fairness import Share
from orchestrator.selectors.paging import DEFAULT_LIMIT, seal, unseal
from tenants.models import Quota, Tenant

CURSOR = "tenants"
_NOTHING = TenantLoad(in_use=0, ready_count=0, active_runs=0)


@dataclass(frozen=True, slots=True)
class ServerUse:
    """Connections of the whole server."""

    in_use: int
    max_connections: int


@dataclass(frozen=True, slots=True)
class Load:
    """A tenant's connections and ready steps, beside the server's total.

    `ready`: step runs that wait for a connection.  `active_runs`: not ended."""

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
    active_runs: int = 0
    max_active_runs: int | None = None
    max_waiting_steps: int | None = None
    storage_bytes: int = 0
    max_storage_bytes: int | None = None
    overrides: int = 0
    """Limits that are set for a time."""
    share: Share | None = None
    """Of the last minute; None: it wanted nothing."""


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
    return Load(
        in_use=load.in_use if load else 0,
        max_connections=Quota.objects.values_list("max_connections", flat=True).get(tenant=tenant),
        ready=load.ready_count if load else 0,
        total_in_use=server.in_use,
        total_max=server.max_connections,
        active_runs=load.active_runs if load else 0,
    )


def tenants_count() -> int:
    """How many tenants there are beside the server's own."""
    return Tenant.objects.filter(is_system=False).count()


def list_tenants_load(
    *,
    shares: Mapping[int, Share] | None = None,
    text: str = "",
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> tuple[list[TenantUse], str | None]:
    """A page of tenants by slug (for staff), each with its use and its share of the last minute, and where
    the next begins.  `text`: part of a slug or a name.  Raises InvalidCursor."""
    rows = Tenant.objects.filter(is_system=False).select_related("quota")
    if text:
        rows = rows.filter(Q(slug__icontains=text) | Q(name__icontains=text))
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(slug__gt=after)
    page = list(rows.annotate(overrides=Count("quota_overrides")).order_by("slug")[: limit + 1])
    more = len(page) > limit
    page = page[:limit]
    ids = [tenant.pk for tenant in page]
    loads = {load.tenant_id: load for load in TenantLoad.objects.filter(tenant_id__in=ids)}
    stored = dict(Storage.objects.filter(tenant_id__in=ids).values_list("tenant_id", "bytes"))
    found = [
        TenantUse(
            tenant_id=tenant.pk,
            slug=tenant.slug,
            name=tenant.name,
            suspended_at=tenant.suspended_at,
            suspended_reason=tenant.suspended_reason,
            in_use=load.in_use,
            max_connections=tenant.quota.max_connections,
            ready=load.ready_count,
            weight=tenant.quota.weight,
            active_runs=load.active_runs,
            max_active_runs=tenant.quota.max_active_runs,
            max_waiting_steps=tenant.quota.max_waiting_steps,
            storage_bytes=stored.get(tenant.pk, 0),
            max_storage_bytes=tenant.quota.max_storage_bytes,
            overrides=tenant.overrides,
            share=None if shares is None else shares.get(tenant.pk),
        )
        for tenant in page
        for load in (loads.get(tenant.pk, _NOTHING),)
    ]
    return found, seal(CURSOR, page[-1].slug) if more else None
