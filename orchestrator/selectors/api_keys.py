"""API keys, always of a tenant: one, a page of them."""

from __future__ import annotations

from django.utils import timezone

from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal_number, unseal_number
from tenants.errors import ApiKeyNotFound
from tenants.models import ApiKey, Tenant

CURSOR = "api_keys"


def access_api_key(*, tenant: Tenant, key_id: str) -> ApiKey:
    """The tenant's key with this prefix.  Raises ApiKeyNotFound; absent and foreign look the same."""
    found = None
    if "\0" not in key_id:
        found = (
            ApiKey.objects.select_related("tenant", "rotated_from")
            .filter(tenant=tenant, prefix=key_id)
            .first()
        )
    if found is None:
        raise ApiKeyNotFound(key_id)
    return found


def key_state(row: ApiKey) -> str:
    """`active`, `expired` or `revoked`."""
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None and row.expires_at <= timezone.now():
        return "expired"
    return "active"


def api_key_view(row: ApiKey) -> dict[str, object]:
    """An ApiKey as the API shows it: never the key, of which only a digest is kept."""
    return {
        "id": row.prefix,
        "name": row.name,
        "scopes": row.scopes,
        "state": key_state(row),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
        "rotated_from": None if row.rotated_from is None else row.rotated_from.prefix,
    }


def list_api_keys(*, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """A page of the tenant's keys, newest first, those that have ended too.  Raises InvalidCursor."""
    rows = ApiKey.objects.filter(tenant=tenant).select_related("rotated_from")
    if cursor is not None:
        rows = rows.filter(pk__lt=unseal_number(CURSOR, cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    items = [api_key_view(row) for row in found]
    return Page(items, seal_number(CURSOR, found[-1].pk) if more else None)
