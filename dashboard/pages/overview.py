"""The Overview: is it going well, what runs now, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from dashboard import charts, words
from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.alerts import firing
from dashboard.pages.health import LOOKS
from dashboard.pages.query import window
from orchestrator.domain.health import CHECKS
from orchestrator.selectors.annotations import Annotation, list_annotations
from orchestrator.selectors.health import Check, checks
from orchestrator.selectors.load import tenant_load
from orchestrator.selectors.ranking import workflow_ranking
from orchestrator.selectors.runs import RunFilters, list_runs
from orchestrator.selectors.stats import WINDOWS, WindowStats, window_stats
from orchestrator.selectors.workers import WorkerRow, live_workers
from tenants.access import Access

ALERTS_SHOWN = 6
ACTIVE = 8
FAILURES = 8
RANKED = 5
SHOWN = ("run", "queue")
"""The measures that charts and tiles show."""
COUNTING = timedelta(seconds=3)
"""Events are counted into buckets with at most about this delay."""

NOTES = {
    "version": ("is-version", "workflows"),
    "quota": ("is-quota", "usage"),
    "alert": ("is-alert", "bell"),
}
"""How charts show what happened: class and icon."""


@dataclass(frozen=True, slots=True)
class Light:
    """A part's health as the page shows it."""

    name: str
    state: str
    kind: str
    icon: str
    detail: str
    """What it means; what was seen is for staff, on a page of theirs."""


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
    stats = window_stats(tenant=access.tenant, window_s=asked.seconds, now=asked.until, of=SHOWN)
    active = RunFilters(states=("running", "queued", "paused"))
    notes = list_annotations(tenant=access.tenant, since=stats.since, until=stats.until)
    return {
        "window": asked,
        "firing": firing(access.tenant, ALERTS_SHOWN),
        "windows": list(WINDOWS),
        "stats": stats,
        "load": tenant_load(access.tenant),
        "charts": charts.marked(stat_charts(stats), chart_notes(notes)),
        "notes": notes,
        "active": list_runs(tenant=access.tenant, filters=active, limit=ACTIVE).items,
        "failures": list_runs(
            tenant=access.tenant, filters=RunFilters(states=("failed",)), limit=FAILURES
        ).items,
        "workers": worker_groups(live_workers()),
        "lights": lights(checks()),
        "ranking": workflow_ranking(
            tenant=access.tenant, window_s=asked.seconds, limit=RANKED, now=asked.until
        ),
    }


def lights(parts: list[Check]) -> list[Light]:
    """Each part of the server, as colour, icon and word."""
    return [
        Light(
            CHECKS[check.name].title,
            str(check.state),
            *LOOKS[str(check.state)][:2],
            CHECKS[check.name].words(check.state),
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


def chart_notes(found: Sequence[Annotation]) -> list[charts.Note]:
    """What happened, as charts mark it."""
    return [charts.Note(one.at, *NOTES[one.kind], one.text) for one in found]


def stat_charts(stats: WindowStats) -> list[charts.Chart]:
    """Runs by outcome, how long they took, how long steps queued, which share of runs failed.

    The bucket that is still filling is left out: it would look like a fall."""
    counted = min(stats.until, timezone.now() - COUNTING)
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
    queued = [quantile("queue", share) for share in ("p50", "p95", "p99")]
    failed = charts.Series("is-failed", "failed", tuple(b.counts.error_rate for b in buckets))
    return [
        charts.stacked(
            "throughput",
            "Runs finished",
            runs,
            times,
            unit="per second",
            show=words.rate,
        ),
        charts.lines("durations", "Run duration", took, times, unit="", show=words.duration),
        charts.lines("queue", "Queue latency", queued, times, unit="", show=words.duration),
        charts.lines(
            "errors",
            "Error rate",
            [failed],
            times,
            unit="of runs that ended",
            show=words.percent,
            ticks=charts.nice_ticks,
            least=0.02,
        ),
    ]


OVERVIEW = Page(
    "overview",
    "dashboard/overview.html",
    ("alerts", "tiles", "charts", "active", "failures", "workflows", "workers", "health"),
    context,
)
