"""The tenant's schedules, and one of them: its next times, what became of the past ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dashboard.live.page import Arguments, Context, Page, Query
from orchestrator.domain.calendar import describe
from orchestrator.domain.errors import InvalidCursor
from orchestrator.models import Schedule
from orchestrator.selectors.schedules import (
    access_schedule,
    fires_page,
    last_fires,
    list_schedules,
    next_times,
    schedule_view,
    timing,
)
from tenants.access import Access
from tenants.models import Role

LIMIT = 100
FIRES = 20
COLOURS = {"waiting": "waiting", "skipped": "skipped", "failed": "failed", "missed": "cancelled"}
REASONS = {
    "overlap": "an earlier run had not ended",
    "queue_full": "too many times wait already",
    "tenant_suspended": "the tenant was suspended",
    "workflow_paused": "the workflow was paused",
    "workflow_archived": "the workflow was archived",
    "invalid_input": "the input does not fit the workflow's schema any more",
    "concurrency": "its concurrency key was taken",
    "over_quota": "a quota of the tenant had no room",
    "internal_error": "the server could not start it",
    "missed": "the clock was not there in time",
}

Row = dict[str, Any]


def schedules_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of schedules by name, each with its next time and what became of the last."""
    try:
        found, more = list_schedules(
            tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None
        )
    except InvalidCursor:
        found, more = list_schedules(tenant=access.tenant, limit=LIMIT)
    last = last_fires(found)
    rows = [
        {"schedule": row, "when": in_words(row), "last": told(last.get(row.pk))} for row in found
    ]
    return {"rows": rows, "next_cursor": more, "may_edit": access.may(Role.ADMIN)}


def schedule_context(access: Access, arguments: Arguments, query: Query) -> Context:
    """A schedule with its next ten times and its last twenty.  Raises ScheduleNotFound."""
    row = access_schedule(tenant=access.tenant, name=arguments["name"])
    try:
        page = fires_page(row=row, limit=FIRES, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = fires_page(row=row, limit=FIRES)
    return {
        "schedule": row,
        "view": schedule_view(row),
        "when": in_words(row),
        "next": [(at, local(row, at)) for at in next_times(row)],
        "fires": [told(fire) for fire in page.items],
        "next_cursor": page.next_cursor,
        "is_later": bool(query.get("cursor")),
        "may_edit": access.may(Role.ADMIN),
    }


def in_words(row: Schedule) -> str:
    """When it is due."""
    return describe(timing(row))


def local(row: Schedule, at: datetime) -> str:
    """A time as the clocks of the schedule's zone show it."""
    return f"{at.astimezone(ZoneInfo(row.zone)):%a %Y-%m-%d %H:%M:%S %Z}"


def told(fire: Row | None) -> Row | None:
    """What became of a time, with its colour and its reason in words."""
    if fire is None:
        return None
    outcome = str(fire["outcome"])
    return {
        **fire,
        "colour": COLOURS.get(outcome),
        "why": REASONS.get(str(fire["reason"]), fire["reason"]) if fire["reason"] else "",
    }


SCHEDULES = Page("schedules", "dashboard/schedules.html", ("rows",), schedules_context)
SCHEDULE = Page(
    "schedule",
    "dashboard/schedule.html",
    ("head", "fires", "next"),
    schedule_context,
    argument="name",
)
