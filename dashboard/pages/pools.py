"""Pools: named limits with their use; and the hosts that `core.http` steps wait for."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.breakers import breakers_view
from orchestrator.selectors.pools import list_pools
from tenants.access import Access
from tenants.models import Role

LIMIT = 100


def pools_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of pools by name, the server's too, with what is in use and what waits."""
    try:
        page = list_pools(tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_pools(tenant=access.tenant, limit=LIMIT)
    return {
        "rows": page.items,
        "next_cursor": page.next_cursor,
        "breakers": breakers_view(tenant=access.tenant),
        "may_set": access.may(Role.ADMIN),
    }


POOLS = Page("pools", "dashboard/pools.html", ("rows", "breakers"), pools_context)
