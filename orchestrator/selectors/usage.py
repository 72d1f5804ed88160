"""What a tenant used, hour by hour: counted from events, and measured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from orchestrator.models import Rollup, Usage
from orchestrator.models.metrics import MEASURES
from tenants.models import Tenant

HOUR_S = 3600
LONGEST_S = 31 * 86_400


@dataclass(frozen=True, slots=True)
class Used:
    """`runs` accepted, `steps` started (retries too), `worker_s` seconds that connections were held,
    `bytes` of requests and their answers."""

    runs: int = 0
    steps: int = 0
    worker_s: float = 0.0
    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour from `at` on, and the most that was there at once within it."""

    at: datetime
    used: Used
    peak_connections: int = 0
    peak_active_runs: int = 0
    peak_waiting_steps: int = 0
    storage_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """Hours up to now, oldest first, without holes; the first one is whole, the last one is still
    filling."""

    since: datetime
    until: datetime
    totals: Used
    hours: tuple[Hour, ...]


def usage_window(*, tenant: Tenant, window_s: int, now: datetime | None = None) -> UsageWindow:
    """The hours that the `window_s` seconds up to `now` touch; at most two rows an hour are read.

    Raises ValueError (not within an hour … 31 days)."""
    if not HOUR_S <= window_s <= LONGEST_S:
        raise ValueError(f"a window is {HOUR_S} to {LONGEST_S} seconds long, not {window_s}")
    moment = now or timezone.now()
    end = int(moment.timestamp()) // HOUR_S * HOUR_S
    begin = int(moment.timestamp() - window_s) // HOUR_S * HOUR_S
    since = datetime.fromtimestamp(begin, UTC)
    asked = {"tenant_id": tenant.pk, "width_s": HOUR_S, "at__gte": since, "at__lte": moment}
    counted = {row.at: row for row in Rollup.objects.filter(workflow_id=0, **asked).defer(
        *(f"{name}_sketch" for name in MEASURES))}  # fmt: skip
    measured = {row.at: row for row in Usage.objects.filter(**asked)}
    moments = [since + timedelta(seconds=passed) for passed in range(0, end - begin + 1, HOUR_S)]
    hours = [_hour(at, counted.get(at), measured.get(at)) for at in moments]
    totals = Used(**{
        field.name: sum(getattr(hour.used, field.name) for hour in hours) for field in fields(Used)
    })  # fmt: skip
    return UsageWindow(since=since, until=moment, totals=totals, hours=tuple(hours))


def _hour(at: datetime, counted: Rollup | None, measured: Usage | None) -> Hour:
    used = Used(
        runs=counted.submitted if counted else 0,
        steps=counted.attempts if counted else 0,
        worker_s=counted.worker_s if counted else 0.0,
        requests=measured.requests if measured else 0,
        bytes=measured.bytes if measured else 0,
    )
    if measured is None:
        return Hour(at, used)
    return Hour(
        at,
        used,
        peak_connections=measured.peak_connections,
        peak_active_runs=measured.peak_active_runs,
        peak_waiting_steps=measured.peak_waiting_steps,
        storage_bytes=measured.storage_bytes,
    )
