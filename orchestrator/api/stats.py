"""`GET /stats`: throughput, latencies and error rates of a window."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpResponse
from ninja import Router

from orchestrator.api.answers import answer
from orchestrator.api.doors import ApiRequest, door
from orchestrator.api.queries import Query
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.selectors.stats import MAX_WINDOW_S, Bucket, Counts, WindowStats, window_stats

router = Router(tags=["stats"])

DEFAULT_WINDOW = "1h"
SHORTEST_S = 10


@router.get("/stats", summary="Throughput, latencies and error rates of a window")
@door("runs:read")
def stats(request: ApiRequest) -> HttpResponse:
    """`window` (a duration up to 60 days, default 1h) up to now, of the tenant or of one `workflow`."""
    query = Query(request, ("window", "workflow"))
    workflow = query.text("workflow")
    window = query.text("window") or DEFAULT_WINDOW
    query.done()
    seconds = _seconds(window)
    return answer(
        _shape(window, window_stats(tenant=request.tenant, window_s=seconds, workflow=workflow))
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
        "buckets": [_bucket(bucket) for bucket in seen.buckets],
    }


def _bucket(bucket: Bucket) -> dict[str, object]:
    return {
        "at": bucket.at,
        "error_rate": bucket.counts.error_rate,
        **_counts(bucket.counts),
        "run": asdict(bucket.run),
        "attempt": asdict(bucket.attempt),
        "queue": asdict(bucket.queue),
    }


def _counts(counts: Counts) -> dict[str, object]:
    return asdict(counts)
