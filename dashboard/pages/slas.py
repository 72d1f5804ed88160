"""The tenant's SLAs, and one of them: its value, its budget, its alerts, the runs that are late or will be."""

from __future__ import annotations

from typing import Any

from dashboard import charts
from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages import alerts
from orchestrator.domain.errors import InvalidCursor
from orchestrator.domain.slo import Kind, words
from orchestrator.models import Sla
from orchestrator.selectors.alerts import last_of_sla
from orchestrator.selectors.slas import (
    NO_NAME,
    access_sla,
    budget_line,
    list_slas,
    proposals,
    rule_of,
    sla_detail,
    sla_view,
    workflow_names,
)
from tenants.access import Access
from tenants.models import Role

LIMIT = 100
KINDS = {
    Kind.SUCCESS_RATIO: "Success ratio",
    Kind.ERROR_RATE_CEILING: "Error rate",
    Kind.RUN_DURATION: "Run duration",
    Kind.P95_THRESHOLD: "95th percentile of run duration",
    Kind.QUEUE_LATENCY: "Queue latency",
    Kind.FRESHNESS: "Freshness",
    Kind.THROUGHPUT_FLOOR: "Throughput",
    Kind.READINESS_P95: "95th percentile of readiness",
}
STATES = {
    "good": ("succeeded", "check", "good"),
    "bad": ("failed", "cross", "bad"),
    "insufficient": ("waiting", "hourglass", "too few"),
    "pending": ("queued", "clock", "not looked at yet"),
    "disabled": ("paused", "pause", "disabled"),
}
"""Colour, icon and word of each state."""
BARELY = 1e-6
"""A budget that is spent is drawn as a line along the bottom, not as nothing."""

Row = dict[str, Any]


def slas_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of rules by name, each with what it came to; and what is proposed."""
    try:
        found, more = list_slas(
            tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None
        )
    except InvalidCursor:
        found, more = list_slas(tenant=access.tenant, limit=LIMIT)
    names = workflow_names([row for row, _ in found])
    return {
        "rows": [shown(row, sla_view(row, state, names)) for row, state in found],
        "next_cursor": more,
        "proposals": [
            {**one, "p95": words.seconds(one["p95_s"])}
            for one in proposals(tenant=access.tenant)[0]
        ],
        "may_edit": access.may(Role.ADMIN),
    }


def sla_context(access: Access, arguments: Arguments, _query: Query) -> Context:
    """A rule with its budget over time, its last alerts, and the runs that it awaits.  Raises SlaNotFound."""
    row = access_sla(tenant=access.tenant, name=arguments["name"])
    view = sla_detail(row)
    return {
        "sla": shown(row, view),
        "view": view,
        "fires_after": view["for"],
        "no_name": NO_NAME,
        "charts": budget_charts(row),
        "alerts": [alerts.shown(one) for one in last_of_sla(row)],
        "may_edit": access.may(Role.ADMIN),
    }


def shown(row: Sla, view: Row) -> Row:
    """A rule as the pages show it: numbers in words, its state with colour, icon and word."""
    rule = rule_of(row)
    status = view["status"]
    colour, icon, word = STATES[status["state"]]
    left = status["budget_left"]
    percentile = view.get("percentile", {}).get("value_s")
    return {
        "name": row.name,
        "description": row.description,
        "timed": rule.nature.per_run,
        "kind": KINDS[rule.kind],
        "promise": view["promise"],
        "workflows": view["workflows"],
        "labels": row.labels,
        "severity": row.severity,
        "enabled": row.enabled,
        "colour": colour,
        "icon": icon,
        "word": word,
        "value": None if status["value"] is None else words.measured(rule, status["value"]),
        "limit": None if rule.limit is None else words.measured(rule, rule.limit),
        "falls": rule.nature.falls,
        "percentile": None if percentile is None else words.seconds(percentile),
        "budget": None if left is None else words.percent(round(left, 3)),
        "budget_filled": 0 if left is None else max(min(left, 1.0), 0.0) * 100,
        "overdrawn": left is not None and left < 0,
        "burn": status["burn"],
        "fastest": max(
            (min(one["long_rate"], one["short_rate"]) for one in status["burn"]), default=None
        ),
        "burns": any(one["burning"] for one in status["burn"]),
        "samples": status["samples"],
        "good": status["good"],
        "late": status["late"],
        "since": status["since"],
        "at": status["at"],
        "error": status["error"],
        "no_data": status["no_data"],
    }


def budget_charts(row: Sla) -> list[charts.Chart]:
    """What was left of the budget, over the last window; none of a rule without one."""
    line = budget_line(row)
    if not line:
        return []
    values = tuple(None if left is None else max(left, BARELY) for _, left in line)
    series = [
        charts.Series("is-skipped", "all of it", (1.0,) * len(values)),
        charts.Series("is-running", "left", values),
    ]
    return [
        charts.lines(
            "budget", "Error budget left", series, [at for at, _ in line],
            unit="of the window before", show=lambda value: words.percent(round(value, 3)), wide=True,
        )
    ]  # fmt: skip


SLAS = Page("slas", "dashboard/slas.html", ("rows", "proposals"), slas_context)
SLA = Page(
    "sla",
    "dashboard/sla.html",
    ("head", "charts", "burn", "alerts", "runs"),
    sla_context,
    argument="name",
)
