"""Channels with what was sent last, silences, maintenance windows."""

from __future__ import annotations

from typing import Any

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.channels import (
    access_channel,
    channel_view,
    in_words,
    last_notifications,
    list_channels,
    list_silences,
    list_windows,
    notifications_page,
)
from orchestrator.services.silences import now
from tenants.access import Access
from tenants.models import Role, Tenant

LIMIT = 100
SENT = 20
SHOWN = {
    "collecting": ("waiting", "hourglass", "waits for its group"),
    "sending": ("running", "spinner", "on its way"),
    "sent": ("succeeded", "check", "sent"),
    "failed": ("failed", "cross", "failed"),
    "dropped": ("skipped", "skip", "not needed"),
}
"""Colour, icon and words of what became of a message."""


def channels_of(tenant: Tenant | None, query: Query) -> Context:
    """A page of channels by name, each with its last message."""
    try:
        page = list_channels(tenant=tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_channels(tenant=tenant, limit=LIMIT)
    last = last_notifications([str(row["name"]) for row in page.items], tenant=tenant)
    rows = [{**row, "last": told(last.get(str(row["name"])))} for row in page.items]
    return {"rows": rows, "next_cursor": page.next_cursor}


def channel_of(tenant: Tenant | None, name: str, query: Query) -> Context:
    """A channel and its last messages.  Raises ChannelNotFound."""
    row = access_channel(tenant=tenant, name=name)
    try:
        page = notifications_page(row=row, limit=SENT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = notifications_page(row=row, limit=SENT)
    return {
        "channel": channel_view(row),
        "sent": [told(one) for one in page.items],
        "next_cursor": page.next_cursor,
        "is_later": bool(query.get("cursor")),
    }


def told(one: dict[str, Any] | None) -> dict[str, Any] | None:
    """A message with the colour, icon and words of what became of it."""
    if one is None:
        return None
    colour, icon, word = SHOWN[one["state"]]
    if one["state"] == "sending" and one["answer"]:
        colour, icon, word = "waiting", "hourglass", "tried again"
    return {**one, "colour": colour, "icon": icon, "word": word}


def silences_of(tenant: Tenant | None, query: Query) -> Context:
    """Silences and maintenance windows."""
    moment = now()
    try:
        page = list_silences(
            tenant=tenant, now=moment, limit=LIMIT, cursor=query.get("cursor") or None
        )
    except InvalidCursor:
        page = list_silences(tenant=tenant, now=moment, limit=LIMIT)
    windows = list_windows(tenant=tenant, now=moment, limit=LIMIT)
    return {
        "silences": page.items,
        "next_cursor": page.next_cursor,
        "windows": [{**row, "when": in_words(row)} for row in windows.items],
    }


def channels_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """The tenant's channels."""
    return {**channels_of(access.tenant, query), "may_edit": access.may(Role.ADMIN)}


def channel_context(access: Access, arguments: Arguments, query: Query) -> Context:
    """One of the tenant's channels.  Raises ChannelNotFound."""
    found = channel_of(access.tenant, arguments["name"], query)
    return {**found, "may_edit": access.may(Role.ADMIN)}


def silences_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """The tenant's silences and windows."""
    return {**silences_of(access.tenant, query), "may_act": access.may(Role.OPERATOR)}


CHANNELS = Page("channels", "dashboard/channels.html", ("rows",), channels_context)
CHANNEL = Page(
    "channel", "dashboard/channel.html", ("head", "sent"), channel_context, argument="name"
)
SILENCES = Page("silences", "dashboard/silences.html", ("silences", "windows"), silences_context)
