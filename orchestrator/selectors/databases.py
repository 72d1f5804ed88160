"""Which database a tenant's steps use."""

from __future__ import annotations

from tenants.models import Quota, Tenant, TenantDatabase


def database_view(*, tenant: Tenant) -> dict[str, object]:
    """`{schema_name, external, max_connections, updated_at, waits: {count, seconds, last_at}}`;
    `external` is null, or the address without its password."""
    row = TenantDatabase.objects.get(tenant=tenant)
    return {
        "schema_name": f"tenant_{tenant.pk}",
        "external": row.external_name or None,
        "max_connections": Quota.objects.get(tenant=tenant).max_connections,
        "updated_at": row.updated_at,
        "waits": {
            "count": row.wait_count,
            "seconds": round(row.waited_s, 3),
            "last_at": row.waited_at,
        },
    }
