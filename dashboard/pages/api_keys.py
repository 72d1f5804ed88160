"""The keys of the tenant's programs."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.api_keys import access_api_key, api_key_view, list_api_keys
from tenants.access import Access
from tenants.keys import SCOPES
from tenants.models import Role

LIMIT = 100


def api_keys_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of keys, newest first, those that have ended too."""
    cursor = query.get("cursor") or None
    try:
        page = list_api_keys(tenant=access.tenant, limit=LIMIT, cursor=cursor)
    except InvalidCursor:
        page = list_api_keys(tenant=access.tenant, limit=LIMIT)
    return {"rows": page.items, "next_cursor": page.next_cursor, "scopes": SCOPES}


def api_key_context(access: Access, arguments: Arguments, _query: Query) -> Context:
    """One of them.  Raises ApiKeyNotFound."""
    return {"key": api_key_view(access_api_key(tenant=access.tenant, key_id=arguments["key_id"]))}


API_KEYS = Page("api_keys", "dashboard/api_keys.html", ("rows",), api_keys_context, role=Role.ADMIN)
API_KEY = Page(
    "api_key",
    "dashboard/api_key.html",
    ("head",),
    api_key_context,
    role=Role.ADMIN,
    argument="key_id",
)
