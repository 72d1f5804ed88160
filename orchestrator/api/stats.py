"""`GET /stats`: throughput, latencies and error rates of a window."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpResponse
from ninja import Router

from orchestrator.api import documents
from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import Query
from orchestrator.api.stats_shapes import StatsView
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.selectors.stats import (
    MAX_WINDOW_S,
    Bucket,
    Counts,
    WindowStats,
    rows_for,
    window_stats,
)

router = Router(tags=["stats"])

DEFAULT_WINDOW = "1h"
SHORTEST_S = 10
WORKFLOWS_AT_MOST = 20
ROWS_AT_MOST = 6000
"""Stored buckets that one request reads: 20 workflows of a week, 4 of 60 days."""


@router.get(
    "/stats",
    response=StatsView,
    summary="Throughput, latencies and error rates of a window",
    openapi_extra=documents.route(
        404,
        422,
        parameters=(
            documents.parameter("window", "A duration from 10s to 60d", default=DEFAULT_WINDOW),
            documents.parameter("workflow", "Name of a workflow; up to 20 may be given"),
        ),
    ),
)
@door("runs:read")
def stats(request: ApiRequest) -> HttpResponse:
    """`window` (a duration up to 60 days, default 1h) up to now: of the tenant, of one `workflow`, or of
    several together (`workflow` given again)."""
    query = Query(request, ("window", "workflow"))
    workflows = query.texts("workflow", WORKFLOWS_AT_MOST)
    window = query.text("window") or DEFAULT_WINDOW
    query.done()
    seconds = _seconds(window)
    if len(workflows) * rows_for(seconds) > ROWS_AT_MOST:
        message = "so many workflows need a shorter window"
        raise InvalidRequest(problems=[Problem("/workflow", message, "out_of_range")])
    return answer(
        _shape(window, window_stats(tenant=request.tenant, window_s=seconds, workflows=workflows))
    )


def _seconds(window: str) -> int:
    try:
        seconds = parse_duration(window).total_seconds()
    except ValueError as error:
        raise InvalidRequest(problems=[Problem("/window", str(error), "bad_duration")]) from None
    if not SHORTEST_S <= seconds <= MAX_WINDOW_S:
        message = "must be from 10s to 60d"
        raise InvalidRequest(problems=[Problem("/window", message, "out_of_range")])
    return round(seconds)


def _shape(window: str, seen: WindowStats) -> dict[str, object]:
    return {
        "window": window,
        "since": seen.since,
        "until": seen.until,
        "width_s": seen.width_s,
        "throughput": {"runs_per_s": seen.runs_per_s, "steps_per_s": seen.steps_per_s},
        "error_rate": seen.error_rate,
        "totals": _counts(seen.totals),
        "run": asdict(seen.run),
        "attempt": asdict(seen.attempt),
        "queue": asdict(seen.queue),
        "ready": asdict(seen.ready),
        "buckets": [_bucket(bucket) for bucket in seen.buckets],
    }


def _bucket(bucket: Bucket) -> dict[str, object]:
    return {
        "at": bucket.at,
        "throughput": {
            "runs_per_s": bucket.counts.runs_finished / bucket.width_s,
            "steps_per_s": bucket.counts.steps_finished / bucket.width_s,
        },
        "error_rate": bucket.counts.error_rate,
        **_counts(bucket.counts),
        "run": asdict(bucket.run),
        "attempt": asdict(bucket.attempt),
        "queue": asdict(bucket.queue),
        "ready": asdict(bucket.ready),
    }


def _counts(counts: Counts) -> dict[str, object]:
    return asdict(counts)
