"""Circuit breakers of `core.http`: the hosts that a tenant's steps fail to reach."""

from __future__ import annotations

from orchestrator.models import Breaker
from tenants.models import Tenant

AT_MOST = 1_000


def breakers_view(*, tenant: Tenant) -> list[dict[str, object]]:
    """Hosts with failures in a row: `{host, state, failures, opened_at, retry_at}`, open ones
    first; at most 1,000.  A host that answers is not in the list."""
    rows = Breaker.objects.filter(tenant=tenant).order_by("-state", "host")[:AT_MOST]
    return [
        {
            "host": row.host,
            "state": row.state,
            "failures": row.failures,
            "opened_at": row.opened_at,
            "retry_at": row.retry_at,
        }
        for row in rows
    ]
