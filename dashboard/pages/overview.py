"""The Overview: is it going well, what runs now, what failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dashboard import charts, words
from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.query import Window, window
from orchestrator.selectors.health import Check, checks
from orchestrator.selectors.load import tenant_load
from orchestrator.selectors.runs import RunFilters, list_runs
from orchestrator.selectors.stats import (
    WINDOWS,
    WindowStats,
    WorkflowStats,
    window_stats,
    workflow_stats,
)
from orchestrator.selectors.workers import WorkerRow, live_workers
from tenants.access import Access

ACTIVE = 8
FAILURES = 8
BUSIEST = 6
COUNTING = timedelta(seconds=3)
"""Events are counted into buckets with at most about this delay."""

LIGHTS = {
    "ok": ("succeeded", "check"),
    "degraded": ("waiting", "warning"),
    "down": ("failed", "cross"),
}


@dataclass(frozen=True, slots=True)
class Light:
    """A part's health as the page shows it."""

    name: str
    state: str
    kind: str
    icon: str
    detail: str
    mend: str


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The live workers of one host that serve the same queues."""

    host: str
    queues: str
    active: int
    draining: int
    in_flight: int


def context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """Everything that the Overview shows."""
    asked = window(query)
    stats = window_stats(tenant=access.tenant, window_s=asked.seconds, now=asked.until)
    active = RunFilters(states=("running", "queued", "paused"))
    return {
        "window": asked,
        "windows": list(WINDOWS),
        "stats": stats,
        "load": tenant_load(access.tenant),
        "charts": stat_charts(stats),
        "active": list_runs(tenant=access.tenant, filters=active, limit=ACTIVE).items,
        "failures": list_runs(
            tenant=access.tenant, filters=RunFilters(states=("failed",)), limit=FAILURES
        ).items,
        "workers": worker_groups(live_workers()),
        "lights": lights(checks()),
        "busiest": busiest(access, asked),
    }


def busiest(access: Access, asked: Window) -> list[WorkflowStats]:
    """The workflows with the most runs in the window; not for one that was brushed."""
    if asked.until is not None:
        return []
    return workflow_stats(tenant=access.tenant, window_s=asked.seconds)[:BUSIEST]


def lights(parts: list[Check]) -> list[Light]:
    """Each part of the server, as colour, icon and word."""
    return [
        Light(
            check.name.replace("_", " ").capitalize(),
            str(check.state),
            *LIGHTS[str(check.state)],
            check.detail,
            check.mend,
        )
        for check in parts
    ]


def worker_groups(rows: list[WorkerRow]) -> list[WorkerGroup]:
    """Workers by host and queues: a host with forty processes is one line."""
    groups: dict[tuple[str, str], list[WorkerRow]] = {}
    for row in rows:
        groups.setdefault((row.host, ", ".join(sorted(row.queues))), []).append(row)
    return [
        WorkerGroup(
            host,
            queues,
            active=sum(row.state == "active" for row in found),
            draining=sum(row.state == "draining" for row in found),
            in_flight=sum(row.in_flight for row in found),
        )
        for (host, queues), found in sorted(groups.items())
    ]


def stat_charts(stats: WindowStats) -> list[charts.Chart]:
    """Runs by outcome, how long they took, how long steps queued.

    The bucket that is still filling is left out: it would look like a fall."""
    counted = stats.until - COUNTING
    buckets = [b for b in stats.buckets if b.at + timedelta(seconds=b.width_s) <= counted]
    times = [bucket.at for bucket in buckets]

    def outcome(state: str) -> charts.Series:
        rates = (getattr(b.counts, f"runs_{state}") / b.width_s for b in buckets)
        return charts.Series(f"is-{state}", state, tuple(rates))

    def quantile(measure: str, share: str) -> charts.Series:
        values = (getattr(getattr(b, measure), f"{share}_s") for b in buckets)
        return charts.Series(f"is-{share}", share, tuple(values))

    runs = [outcome(state) for state in ("succeeded", "failed", "cancelled")]
    took = [quantile("run", share) for share in ("p50", "p95", "p99")]
    queued = [quantile("queue", share) for share in ("p50", "p95")]
    return [
        charts.stacked(
            "throughput",
            "Runs finished",
            runs,
            times,
            unit="per second",
            show=words.rate,
            wide=True,
        ),
        charts.lines("durations", "Run duration", took, times, unit="", show=words.duration),
        charts.lines("queue", "Queue latency", queued, times, unit="", show=words.duration),
    ]


OVERVIEW = Page(
    "overview",
    "dashboard/overview.html",
    ("tiles", "charts", "active", "failures", "busiest", "workers", "health"),
    context,
)
