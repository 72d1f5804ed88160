"""The people of a tenant: its members, and who is invited."""

from __future__ import annotations

from orchestrator.selectors.paging import DEFAULT_LIMIT, Page, seal, unseal
from tenants.errors import MemberNotFound
from tenants.models import Invitation, Membership, Tenant
from tenants.services.invitations import is_open

CURSOR = "members"


def access_member(*, tenant: Tenant, name: str) -> Membership:
    """The tenant's member of this name.  Raises MemberNotFound; absent and foreign look the same."""
    found = None
    if "\0" not in name:
        found = (
            Membership.objects.select_related("tenant", "user")
            .filter(tenant=tenant, user__username=name)
            .first()
        )
    if found is None:
        raise MemberNotFound
    return found


def member_view(row: Membership) -> dict[str, object]:
    """A member as pages show it."""
    return {
        "name": row.user.get_username(),
        "email": row.user.email,
        "role": row.role,
        "is_active": row.user.is_active,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
    }


def list_members(*, tenant: Tenant, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page:
    """A page of the tenant's members by name.  Raises InvalidCursor."""
    rows = Membership.objects.filter(tenant=tenant).select_related("user")
    if cursor is not None:
        (after,) = unseal(CURSOR, cursor, 1)
        rows = rows.filter(user__username__gt=after)
    found = list(rows.order_by("user__username")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    items = [member_view(row) for row in found]
    last = found[-1].user.get_username() if more else ""
    return Page(items, seal(CURSOR, last) if more else None)


def open_invitations(*, tenant: Tenant, limit: int) -> list[dict[str, object]]:
    """The tenant's invitations that can still be accepted, newest first: never their links."""
    rows = Invitation.objects.filter(is_open(), tenant=tenant).order_by("-pk")[:limit]
    return [
        {
            "id": row.pk,
            "email": row.email,
            "role": row.role,
            "created_by": row.created_by.removeprefix("user:"),
            "created_at": row.created_at,
            "expires_at": row.expires_at,
        }
        for row in rows
    ]
