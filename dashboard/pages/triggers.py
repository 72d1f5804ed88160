"""The tenant's triggers, and one of them: where its requests go, what became of the last ones."""

from __future__ import annotations

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.triggers import (
    access_trigger,
    deliveries_page,
    list_triggers,
    trigger_view,
)
from tenants.access import Access
from tenants.models import Role

LIMIT = 100
DELIVERIES = 20
REFUSALS = {
    "bad_signature": "the signature was not right",
    "bad_timestamp": "the timestamp was over five minutes off",
    "disabled": "the trigger was off",
    "secret_unreadable": "the server's SECRET_KEY has changed: rotate the secret",
}


def triggers_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of triggers by name."""
    try:
        page = list_triggers(tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_triggers(tenant=access.tenant, limit=LIMIT)
    return {
        "rows": page.items,
        "next_cursor": page.next_cursor,
        "may_edit": access.may(Role.ADMIN),
    }


def trigger_context(access: Access, arguments: Arguments, query: Query) -> Context:
    """A trigger and its last deliveries.  Raises TriggerNotFound."""
    row = access_trigger(tenant=access.tenant, name=arguments["name"])
    try:
        page = deliveries_page(row=row, limit=DELIVERIES, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = deliveries_page(row=row, limit=DELIVERIES)
    return {
        "trigger": trigger_view(row, access.tenant),
        "refusal": REFUSALS.get(row.refused_reason or "", row.refused_reason),
        "deliveries": page.items,
        "next_cursor": page.next_cursor,
        "is_later": bool(query.get("cursor")),
        "may_edit": access.may(Role.ADMIN),
    }


TRIGGERS = Page("triggers", "dashboard/triggers.html", ("rows",), triggers_context)
TRIGGER = Page(
    "trigger", "dashboard/trigger.html", ("head", "deliveries"), trigger_context, argument="name"
)
