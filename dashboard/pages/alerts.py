"""Alerts: what fires, who sees to it, what is muted, what is over; and one of them with its story."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.alerts import AlertState
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.alerts import (
    AlertFilters,
    access_alert,
    alert_counts,
    alert_view,
    known_runs,
    list_alerts,
    sla_of,
    timeline,
)
from orchestrator.selectors.muting import muting_of
from orchestrator.services.silences import now
from tenants.access import Access
from tenants.models import Role, Tenant

LIMIT = 50
NARROWED = ("severity", "rule", "workflow")
"""What the address narrows the list to, beside the tab."""
TABS = {
    "firing": "Firing",
    "acknowledged": "Acknowledged",
    "silenced": "Silenced",
    "pending": "Pending",
    "resolved": "Resolved",
}
_ALARMED = (AlertState.FIRING, AlertState.ACKNOWLEDGED)
_FILTERS = {
    "firing": AlertFilters(states=(AlertState.FIRING,), muted=False),
    "acknowledged": AlertFilters(states=(AlertState.ACKNOWLEDGED,)),
    "silenced": AlertFilters(states=_ALARMED, muted=True),
    "pending": AlertFilters(states=(AlertState.PENDING,)),
    "resolved": AlertFilters(states=(AlertState.RESOLVED,)),
}
SHOWN = {
    "pending": ("waiting", "hourglass"),
    "firing": ("failed", "bell"),
    "acknowledged": ("paused", "person"),
    "resolved": ("succeeded", "check"),
    "ok": ("skipped", "check"),
    "escalated": ("failed", "bell"),
    "muted": ("skipped", "mute"),
    "unmuted": ("waiting", "bell"),
    "notified": ("ready", "mail"),
    "not_notified": ("failed", "mail"),
}
"""Colour and icon of a state, and of the other lines of a timeline."""
WORDS = {
    "not_notified": "not notified",
    "ok": "ok again",
    "muted": "silenced",
    "unmuted": "silenced no more",
}


def alerts_of(tenant: Tenant | None, query: Query) -> Context:
    """The alerts of a tenant, or of the server, under one of the tabs."""
    tab = query.get("tab", "firing")
    tab = tab if tab in TABS else "firing"
    asked = {key: query.get(key, "").replace("\0", "")[:200] for key in NARROWED}
    filters = replace(
        _FILTERS[tab],
        severity=asked["severity"] or None,
        rule=asked["rule"] or None,
        workflow=asked["workflow"] or None,
    )
    cursor = query.get("cursor") or None
    try:
        page = list_alerts(tenant=tenant, filters=filters, limit=LIMIT, cursor=cursor)
    except InvalidCursor:
        page = list_alerts(tenant=tenant, filters=filters, limit=LIMIT)
    counts = alert_counts(tenant=tenant)
    numbers = {
        "firing": counts.firing,
        "acknowledged": counts.acknowledged,
        "silenced": counts.muted,
        "pending": counts.pending,
    }
    return {
        "tab": tab,
        "asked": asked,
        "kept": urlencode({key: value for key, value in asked.items() if value}),
        "tabs": [(key, word, numbers.get(key)) for key, word in TABS.items()],
        "rows": [shown(row) for row in page.items],
        "next_cursor": page.next_cursor,
        "is_later": bool(cursor),
    }


def alert_of(tenant: Tenant | None, alert_id: str) -> Context:
    """An alert and its story.  Raises AlertNotFound."""
    row = access_alert(tenant=tenant, alert_id=alert_id)
    view = alert_view(row)
    lines = [
        {**line, "colour": SHOWN[str(line["kind"])][0], "icon": SHOWN[str(line["kind"])][1],
         "word": WORDS.get(str(line["kind"]), line["kind"])}
        for line in timeline(row)
    ]  # fmt: skip
    runs = known_runs(row)
    return {
        "alert": shown(view),
        "muting": muting_of(row, now()),
        "sla": sla_of(row),
        "timeline": lines,
        "runs": [(run, run in runs) for run in row.run_ids],
        "can_acknowledge": row.state == AlertState.FIRING,
        "can_resolve": row.state in _ALARMED,
    }


def shown(view: dict[str, Any]) -> dict[str, Any]:
    """An alert with the colour and the icon of its state."""
    colour, icon = SHOWN[view["state"]]
    return {**view, "colour": colour, "icon": icon}


def alerts_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """The tenant's alerts."""
    return {**alerts_of(access.tenant, query), "may_act": access.may(Role.OPERATOR)}


def alert_context(access: Access, arguments: Arguments, _query: Query) -> Context:
    """One of the tenant's alerts.  Raises AlertNotFound."""
    found = alert_of(access.tenant, arguments["alert_id"])
    return {**found, "may_act": access.may(Role.OPERATOR)}


def firing(tenant: Tenant, limit: int) -> list[dict[str, Any]]:
    """The alerts that fire and are not muted, for the Overview."""
    return [
        shown(row)
        for row in list_alerts(tenant=tenant, filters=_FILTERS["firing"], limit=limit).items
    ]


ALERTS = Page("alerts", "dashboard/alerts.html", ("tabs", "rows"), alerts_context)
ALERT = Page(
    "alert",
    "dashboard/alert.html",
    ("head", "timeline", "actions"),
    alert_context,
    argument="alert_id",
)
