"""What other limits would have done to a tenant's runs in the last week, before they are set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum
from django.utils import timezone

from orchestrator.domain.impact import Stretch, over_active, over_rate, while_above
from orchestrator.models import Payload, Rollup, Run, Schedule, TenantLoad, Usage, Workflow
from tenants import keys, limits
from tenants.limits import Limit
from tenants.models import Quota, Tenant

DAYS = 7
WIDTH_S = 300
COUNT_AT_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Impact:
    """Of one limit: how many runs of the last 7 days would have waited, or been refused, under
    `after`; `note` is what else there is to know."""

    limit: Limit
    before: float | None
    after: float | None
    waited: int = 0
    refused: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Week:
    tenant: Tenant
    since: datetime
    stretches: tuple[Stretch, ...]
    active: int


def impact(
    *, tenant: Tenant, changes: Mapping[str, float | None], now: datetime | None = None
) -> list[Impact]:
    """What each limit that would change would have done.  Reads a week's rollups, five minutes each."""
    quota = Quota.objects.get(pk=tenant.pk)
    changed = [
        limit
        for limit in limits.ALL
        if limit.name in changes and changes[limit.name] != getattr(quota, limit.name)
    ]
    if not changed:
        return []
    week = _week(tenant, now or timezone.now())
    found = []
    for limit in changed:
        before, after = getattr(quota, limit.name), changes[limit.name]
        waited, refused, note = _JUDGES[limit.name](week, after) if after is not None else NOTHING
        found.append(Impact(limit, before, after, waited, refused, note))
    return found


Judged = tuple[int, int, str]
NOTHING: Judged = (0, 0, "")


def _week(tenant: Tenant, now: datetime) -> _Week:
    end = int(now.timestamp()) // WIDTH_S * WIDTH_S
    begin = end - DAYS * 86_400
    since = datetime.fromtimestamp(begin, tz=now.tzinfo)
    asked = {"tenant_id": tenant.pk, "width_s": WIDTH_S, "at__gte": since, "at__lte": now}
    counted = {
        int(at.timestamp()): (submitted, sum(ended))
        for at, submitted, *ended in Rollup.objects.filter(workflow_id=0, **asked).values_list(
            "at", "submitted", "runs_succeeded", "runs_failed", "runs_cancelled"
        )
    }
    measured = {int(row.at.timestamp()): row for row in Usage.objects.filter(**asked)}
    stretches = []
    for at in range(begin, end + 1, WIDTH_S):
        submitted, ended = counted.get(at, (0, 0))
        seen = measured.get(at)
        stretches.append(
            Stretch(
                WIDTH_S,
                submitted=submitted,
                ended=ended,
                peak_connections=seen.peak_connections if seen else 0,
                peak_waiting_steps=seen.peak_waiting_steps if seen else 0,
                storage_bytes=seen.storage_bytes if seen else 0,
            )
        )
    load = TenantLoad.objects.filter(tenant_id=tenant.pk).first()
    now_active = load.active_runs if load else 0
    grown = sum(one.submitted - one.ended for one in stretches)
    return _Week(tenant, since, tuple(stretches), max(now_active - grown, 0))


def _connections(week: _Week, limit: float) -> Judged:
    return while_above(week.stretches, "peak_connections", limit, at=False), 0, ""


def _weight(week: _Week, limit: float) -> Judged:
    return 0, 0, "Acts only while the server's connections are all in use."


def _active(week: _Week, limit: float) -> Judged:
    return 0, over_active(week.stretches, int(limit), week.active), ""


def _waiting(week: _Week, limit: float) -> Judged:
    return 0, while_above(week.stretches, "peak_waiting_steps", limit, at=True), ""


def _rate(week: _Week, limit: float) -> Judged:
    return 0, over_rate(week.stretches, int(limit)), ""


def _storage(week: _Week, limit: float) -> Judged:
    return 0, while_above(week.stretches, "storage_bytes", limit, at=True), ""


def _steps(week: _Week, limit: float) -> Judged:
    """Runs of workflows whose newest version is larger."""
    names = {
        pk: name
        for pk, name, newest, version, count in Workflow.objects.filter(
            tenant=week.tenant
        ).values_list("pk", "name", "newest", "versions__version", "versions__step_count")
        if newest == version and count > limit
    }
    rows = Rollup.objects.filter(
        tenant_id=week.tenant.pk, width_s=3600, workflow_id__in=names, at__gte=week.since
    )
    note = f"Too large: {', '.join(sorted(names.values())[:5])}." if names else ""
    return 0, rows.aggregate(sum=Sum("submitted"))["sum"] or 0, note


def _payload(week: _Week, limit: float) -> Judged:
    rows = Payload.objects.filter(
        tenant_id=week.tenant.pk, size__gt=limit, created_at__gte=week.since
    )
    count = rows.values("run_id").distinct().order_by()[:COUNT_AT_MOST].count()
    return 0, count, "Counted are payloads that are kept still." if count else ""


def _retention(week: _Week, limit: float) -> Judged:
    before = timezone.now() - timedelta(days=limit)
    rows = Run.objects.filter(tenant=week.tenant, created_at__lt=before, finished_at__lt=before)
    count = rows.order_by()[:COUNT_AT_MOST].count()
    more = "+" if count == COUNT_AT_MOST else ""
    return 0, 0, f"{count:,}{more} finished runs are older and will be deleted." if count else ""


def _schedules(week: _Week, limit: float) -> Judged:
    return 0, 0, _kept(Schedule.objects.filter(tenant=week.tenant).count(), limit)


def _keys(week: _Week, limit: float) -> Judged:
    return 0, 0, _kept(keys.in_force(week.tenant).count(), limit)


def _kept(count: int, limit: float) -> str:
    return f"There are {count:,}; they stay, and new ones are refused." if count >= limit else ""


_JUDGES: dict[str, Callable[[_Week, float], Judged]] = {
    "max_connections": _connections,
    "weight": _weight,
    "max_active_runs": _active,
    "max_waiting_steps": _waiting,
    "submissions_per_minute": _rate,
    "max_steps": _steps,
    "max_payload_bytes": _payload,
    "max_storage_bytes": _storage,
    "retention_days": _retention,
    "max_schedules": _schedules,
    "max_api_keys": _keys,
}
