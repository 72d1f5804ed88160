"""Who may do what in the tenant: its members, the last one who joined last, and open invitations."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.members import (
    access_member,
    list_members,
    member_view,
    open_invitations,
)
from tenants import mail
from tenants.access import Access
from tenants.models import Role
from tenants.services.invitations import MOST_OPEN

LIMIT = 100


def members_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of members by name, and the invitations that nobody has accepted yet."""
    try:
        page = list_members(tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_members(tenant=access.tenant, limit=LIMIT)
    return {
        "rows": page.items,
        "next_cursor": page.next_cursor,
        "invitations": open_invitations(tenant=access.tenant, limit=MOST_OPEN),
        "roles": Role.values,
        "mail_is_sent": mail.is_sent(),
    }


def member_context(access: Access, arguments: Arguments, _query: Query) -> Context:
    """One of them.  Raises MemberNotFound."""
    row = access_member(tenant=access.tenant, name=arguments["name"])
    return {"member": member_view(row), "roles": Role.values}


MEMBERS = Page(
    "members", "dashboard/members.html", ("rows", "invitations"), members_context, role=Role.ADMIN
)
MEMBER = Page(
    "member", "dashboard/member.html", ("head",), member_context, role=Role.ADMIN, argument="name"
)
