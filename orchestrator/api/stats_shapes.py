"""The shapes of statistics."""

from __future__ import annotations

from datetime import datetime

from ninja import Schema


class QuantilesView(Schema):
    """Seconds; null where nothing was measured."""

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


class CountsView(Schema):
    """How many of each kind; `worker_s` is what attempts took together."""

    submitted: int
    runs_succeeded: int
    runs_failed: int
    runs_cancelled: int
    runs_timed_out: int
    attempts: int
    steps_succeeded: int
    steps_failed: int
    steps_skipped: int
    steps_cancelled: int
    retries: int
    timeouts: int
    losses: int
    events: int
    worker_s: float


class ThroughputView(Schema):
    """Ended a second."""

    runs_per_s: float
    steps_per_s: float


class MeasuredView(Schema):
    """`error_rate`: failed of the runs that succeeded or failed.  `run`, `attempt`: start to end;
    `queue`: ready to start; `ready`: from the end of a step's parents to ready."""

    throughput: ThroughputView
    error_rate: float | None
    run: QuantilesView
    attempt: QuantilesView
    queue: QuantilesView
    ready: QuantilesView


class BucketView(MeasuredView, CountsView):
    """What happened from `at`, for the window's `width_s`."""

    at: datetime


class StatsView(MeasuredView):
    """What happened from `since` up to `until`."""

    window: str
    since: datetime
    until: datetime
    width_s: int
    totals: CountsView
    buckets: list[BucketView]
